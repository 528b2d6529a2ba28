//! Causes in synthetic meshes: named in most, whatever the kind of fault; nobody blamed where nothing is wrong; bounded, the same each time.

#[path = "../examples/mesh/mod.rs"]
mod mesh;

use mesh::{Case, fault};
use taut_insight::incident::Verdict;
use taut_insight::locate::{Ranking, locate};

const SEEDS: u64 = 12;

fn first_is_right(case: &Case, ranking: &Ranking) -> bool {
    ranking.causes.first().is_some_and(|cause| case.truths.iter().any(|truth| truth.contains(&cause.place)))
}

#[test]
fn most_faults_that_users_feel_are_named_first_whatever_their_kind() {
    for (at, kind) in fault::FAULTS.iter().enumerate() {
        let cases = (0..4 * SEEDS).filter_map(|seed| mesh::broken(500_000 + seed * 100 + at as u64, 12, &[kind]));
        let told: Vec<bool> = cases
            .filter_map(|case| {
                let ranking = locate(&case.situation);
                (!ranking.causes.is_empty()).then(|| first_is_right(&case, &ranking))
            })
            .collect();
        let right = told.iter().filter(|right| **right).count();
        assert!(told.len() >= 5, "{kind}: felt in {} meshes only", told.len());
        assert!(right * 10 >= told.len() * 8, "{kind}: {right} of {}", told.len());
    }
}

#[test]
fn nobody_is_blamed_for_what_is_harmless() {
    for (at, kind) in fault::BENIGN.iter().enumerate() {
        let blamed = (0..SEEDS).filter(|seed| !locate(&mesh::benign(600_000 + seed * 100 + at as u64, 20, kind).situation).causes.is_empty());
        assert!(blamed.count() <= 1, "{kind}");
    }
}

#[test]
fn the_same_situation_gives_the_same_answer_and_a_confident_one_is_seldom_wrong() {
    let (mut sure, mut right) = (0, 0);
    for seed in 0..200 {
        let kind = fault::FAULTS[seed as usize % fault::FAULTS.len()];
        let Some(case) = mesh::broken(700_000 + seed, 15, &[kind]) else { continue };
        let ranking = locate(&case.situation);
        assert_eq!(ranking, locate(&case.situation));
        let whole: f64 = ranking.causes.iter().map(|cause| cause.share).sum();
        assert!(whole <= 1.0 + 1e-9, "shares add up to {whole}");
        if ranking.causes.first().is_some_and(|cause| cause.confidence >= 0.8) {
            sure += 1;
            right += usize::from(first_is_right(&case, &ranking));
        }
    }
    assert!(sure >= 50 && right * 100 >= sure * 85, "{right} of {sure}");
}

#[test]
fn ten_thousand_links_are_searched_and_an_empty_mesh_is_not() {
    let case = mesh::large(1, 1000, 10_000);
    let ranking = locate(&case.situation);
    assert!(first_is_right(&case, &ranking), "{:?}, but {ranking:#?}", case.truths);
    let mut empty = case.situation;
    empty.seen.clear();
    assert_eq!(locate(&empty).verdict, Verdict::TooEarly);
}
