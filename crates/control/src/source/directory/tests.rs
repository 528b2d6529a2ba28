//! A directory's life: files that come, change, break and go.

use super::*;
use taut_model::{kinds, read};
use taut_wire::net::OsNetwork;

const RULE: &str = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: NAME\n  namespace: shop\nspec:\n  host: HOST\n";

struct Desk {
    files: tempfile::TempDir,
    store: Store,
    world: World,
}

impl Desk {
    fn new() -> Self {
        let world = World::simulated(Arc::new(OsNetwork), 1, "2026-06-01T12:00:00Z".parse().unwrap());
        Self { files: tempfile::tempdir().unwrap(), store: Store::open(None).unwrap(), world }
    }

    fn open(&self) -> Directory {
        Directory::open(self.files.path(), self.store.clone(), self.world.clone()).unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.files.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn rule(&self, file: &str, name: &str, host: &str) {
        self.write(file, &RULE.replace("NAME", name).replace("HOST", host));
    }

    fn host(&self, name: &str) -> Option<String> {
        let kind = kinds::named("DestinationRule").unwrap();
        self.store.get(kind, "shop", name).map(|object| object.value["spec"]["host"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn files_below_are_applied_with_their_places() {
    let desk = Desk::new();
    desk.rule("a.yaml", "one", "reviews");
    desk.rule("deep/er/b.yml", "two", "ratings");
    desk.rule(".hidden/c.yaml", "three", "x");
    desk.write("notes.txt", "not configuration");
    desk.open();
    assert_eq!((desk.host("one"), desk.host("two"), desk.host("three")), (Some("reviews".into()), Some("ratings".into()), None));
    let object = desk.store.get(kinds::named("DestinationRule").unwrap(), "shop", "two").unwrap();
    let source = object.value["metadata"]["annotations"][SOURCE].as_str().unwrap();
    assert!(source.ends_with("deep/er/b.yml:4"), "{source}");
    assert_eq!(object.location("spec.host").unwrap().line, 7);
}

#[tokio::test]
async fn a_file_that_breaks_keeps_its_last_good_version_also_across_a_restart() {
    let desk = Desk::new();
    desk.rule("a.yaml", "one", "reviews");
    let mut directory = desk.open();
    desk.write("a.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: one, namespace: shop}\nspec: {hots: x}\n");
    directory.refresh(true);
    assert_eq!(desk.host("one").as_deref(), Some("reviews"));
    let problems = directory.report().problems();
    assert!(problems.iter().any(|problem| problem.to_string().contains("a.yaml:4")), "{problems:?}");
    // A restart knows the last good version from the store.
    let mut directory = desk.open();
    assert_eq!(desk.host("one").as_deref(), Some("reviews"));
    desk.write("a.yaml", "{]");
    directory.refresh(true);
    assert_eq!(desk.host("one").as_deref(), Some("reviews"));
    desk.rule("a.yaml", "one", "ratings");
    directory.refresh(true);
    assert_eq!((desk.host("one").as_deref(), directory.report().problems().len()), (Some("ratings"), 0));
}

#[tokio::test]
async fn what_vanishes_is_removed_and_what_others_wrote_is_not() {
    let desk = Desk::new();
    desk.rule("a.yaml", "one", "reviews");
    desk.write("b.yaml", &format!("{}---\n{}", RULE.replace("NAME", "two").replace("HOST", "b"), RULE.replace("NAME", "three").replace("HOST", "c")));
    let mut directory = desk.open();
    let mine = read::yaml(&RULE.replace("NAME", "mine").replace("HOST", "m"), "-").objects.remove(0);
    let write = Write { manager: "kubectl".into(), now: desk.world.wall_text(), uid_seed: [9; 16], places: None, status_only: false, author: None };
    desk.store.create(mine, &write).unwrap();
    std::fs::remove_file(desk.files.path().join("a.yaml")).unwrap();
    desk.rule("b.yaml", "two", "b");
    directory.refresh(true);
    assert_eq!((desk.host("one"), desk.host("two").is_some(), desk.host("three"), desk.host("mine").is_some()), (None, true, None, true));
}

#[tokio::test]
async fn of_two_files_with_one_object_the_first_counts_and_the_other_is_told() {
    let desk = Desk::new();
    desk.rule("a.yaml", "one", "first");
    desk.rule("b.yaml", "one", "second");
    let directory = desk.open();
    assert_eq!(desk.host("one").as_deref(), Some("first"));
    let problems = directory.report().problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].code == "Duplicate" && problems[0].location.as_ref().unwrap().file.ends_with("b.yaml"));
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_a_clear_fault() {
    let desk = Desk::new();
    let missing = tempfile::tempdir().unwrap().path().join("config");
    let fault = Directory::open(&missing, desk.store.clone(), desk.world.clone()).err().unwrap().to_string();
    assert!(fault.contains(missing.to_str().unwrap()) && fault.contains("--config"), "{fault}");
}

#[tokio::test]
async fn a_change_on_disk_arrives_by_itself() {
    let desk = Desk::new();
    let directory = desk.open();
    let mut changes = desk.store.watch(desk.store.version()).unwrap();
    let watching = tokio::spawn(directory.watch());
    desk.rule("late.yaml", "late", "reviews");
    let event = tokio::time::timeout(Duration::from_secs(10), changes.next()).await.expect("in time").unwrap();
    assert_eq!(event.object.name, "late");
    watching.abort();
}

/// A policy of the kind with `SPEC` on the fifth line.
fn policy(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n")
}

const MISSPELT: &str = "{selector: {matchLabels: {app: reviews}}, action: DENY, rules: [{from: [{source: {principal: [x]}}]}]}";
const MENDED: &str = "{selector: {matchLabels: {app: reviews}}, action: DENY, rules: [{from: [{source: {principals: [x]}}]}]}";

impl Desk {
    fn spec(&self, kind: &str, name: &str) -> Option<Value> {
        self.store.get(kinds::named(kind).unwrap(), "shop", name).map(|object| object.value["spec"].clone())
    }

    fn is_stand_in(&self, kind: &str, name: &str) -> bool {
        self.store.get(kinds::named(kind).unwrap(), "shop", name).is_some_and(|object| is_stand_in(&object))
    }

    fn translated(&self) -> crate::translate::Translation {
        crate::translate::translate(&self.store.all().0, &crate::translate::Settings::default())
    }
}

fn says(directory: &Directory, code: &str, text: &str) {
    let problems = directory.report().problems();
    assert!(problems.iter().any(|problem| problem.code == code && problem.to_string().contains(text)), "{code} {text}: {problems:#?}");
}

#[tokio::test]
async fn a_file_with_what_the_mesh_cannot_do_keeps_its_last_good_version() {
    let desk = Desk::new();
    desk.rule("a.yaml", "one", "reviews");
    let mut directory = desk.open();
    let unsupported = "  trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}\n";
    desk.write("a.yaml", &format!("{}{unsupported}", RULE.replace("NAME", "one").replace("HOST", "ratings")));
    directory.refresh(true);
    assert_eq!(desk.host("one").as_deref(), Some("reviews"));
    says(&directory, "UnsupportedValue", "a.yaml:8:38");
    says(&directory, "UnsupportedValue", "  8 |   trafficPolicy");
    says(&directory, "NotApplied", "what it last said stays live");
}

#[tokio::test]
async fn a_new_rule_that_is_refused_keeps_its_demand_for_tls() {
    let desk = Desk::new();
    let policy = "  trafficPolicy: {tunnel: {}, tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}]}\n";
    desk.write("a.yaml", &format!("{}{policy}", RULE.replace("NAME", "one").replace("HOST", "pay.example")));
    let directory = desk.open();
    says(&directory, "StandsIn", "DestinationRule shop/one");
    let rule = &desk.translated().destinations["DestinationRule/shop/one"];
    let simple = taut_model::destination::ClientTls::Simple(Default::default());
    assert_eq!((rule.policy.tls.as_ref(), rule.policy.ports.len(), rule.host.as_str()), (Some(&simple), 1, "pay.example"));
    assert!(rule.origin.path.contains("not accepted"), "{}", rule.origin);
}

#[tokio::test]
async fn a_new_policy_that_is_refused_refuses_until_it_is_mended() {
    let desk = Desk::new();
    desk.write(
        "a.yaml",
        &format!("{}---\n{}", policy("AuthorizationPolicy", "deny", MISSPELT), policy("PeerAuthentication", "tls", "{mtls: {mod: STRICT}}")),
    );
    let mut directory = desk.open();
    says(&directory, "StandsIn", "AuthorizationPolicy shop/deny is not accepted and was never good, so everything is denied");
    says(&directory, "StandsIn", "PeerAuthentication shop/tls");
    let translation = desk.translated();
    let denies = &translation.authorizations["AuthorizationPolicy/shop/deny"];
    assert_eq!(denies.selector.get("app").map(String::as_str), Some("reviews"));
    assert!(denies.rules.len() == 1 && denies.rules[0].from.is_empty(), "{denies:?}");
    assert_eq!(translation.authentications["PeerAuthentication/shop/tls"].mode, Some(taut_model::policy::MtlsMode::Strict));
    let found: Vec<_> = translation.findings.values().flatten().map(ToString::to_string).collect();
    assert!(found.iter().any(|text| text.contains("a.yaml:4") && text.contains("principal")), "{found:?}");

    desk.write("a.yaml", &policy("AuthorizationPolicy", "deny", MENDED));
    directory.refresh(true);
    assert_eq!(desk.spec("AuthorizationPolicy", "deny").unwrap()["rules"][0]["from"][0]["source"]["principals"][0], "x");
    assert_eq!((desk.is_stand_in("AuthorizationPolicy", "deny"), desk.spec("PeerAuthentication", "tls")), (false, None));
    assert_eq!(
        (directory.report().problems(), desk.translated().findings.values().flatten().filter(|one| one.severity == Severity::Error).count()),
        (vec![], 0)
    );

    // Once good, it is the last good version that stays, also across a restart.
    desk.write("a.yaml", &policy("AuthorizationPolicy", "deny", MISSPELT));
    directory.refresh(true);
    assert!(!desk.is_stand_in("AuthorizationPolicy", "deny"));
    desk.open();
    assert!(!desk.is_stand_in("AuthorizationPolicy", "deny"));
}

#[tokio::test]
async fn a_stand_in_goes_with_its_object_and_with_its_file() {
    let desk = Desk::new();
    let broken = "---\napiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: shop}\nspec: {prots: []}\n";
    desk.write("a.yaml", &format!("{}{broken}", policy("AuthorizationPolicy", "deny", MISSPELT)));
    let mut directory = desk.open();
    assert!(desk.is_stand_in("AuthorizationPolicy", "deny"));
    // A restart while the file is broken changes nothing.
    assert!({
        desk.open();
        desk.is_stand_in("AuthorizationPolicy", "deny")
    });
    desk.write("a.yaml", broken);
    directory.refresh(true);
    assert_eq!(desk.spec("AuthorizationPolicy", "deny"), None);
    desk.write("a.yaml", &policy("AuthorizationPolicy", "deny", MISSPELT));
    directory.refresh(true);
    assert!(desk.is_stand_in("AuthorizationPolicy", "deny"));
    std::fs::remove_file(desk.files.path().join("a.yaml")).unwrap();
    directory.refresh(true);
    assert_eq!(desk.spec("AuthorizationPolicy", "deny"), None);
}

#[tokio::test]
async fn what_can_be_read_of_a_refused_policy_decides_whom_it_guards() {
    let version = policy("AuthorizationPolicy", "p", MENDED).replace("istio.io/v1", "istio.io/v7");
    let kind = policy("AuthorizationPolcy", "p", MENDED);
    let nameless = policy("AuthorizationPolicy", "p", MENDED).replace("name: p", "nam: p");
    let dry = policy("AuthorizationPolicy", "p", MISSPELT).replace("name: p", "name: p, annotations: {istio.io/dry-run: 'true'}");
    let selector = policy("AuthorizationPolicy", "p", "{selector: {matchLabel: {app: reviews}}, action: DENY, rules: [{}]}");
    for (text, guarded) in [(version, Some(1)), (kind, Some(1)), (nameless, Some(1)), (selector, Some(0)), (dry, None), ("{]".to_owned(), None)] {
        let desk = Desk::new();
        desk.write("a.yaml", &text);
        let directory = desk.open();
        assert!(directory.report().problems().iter().any(|problem| problem.severity == Severity::Error), "{text}");
        let translation = desk.translated();
        let labels = translation.authorizations.values().next().map(|policy| policy.selector.len());
        assert_eq!((labels, translation.authorizations.len()), (guarded, guarded.iter().count()), "{text}");
    }
}

#[tokio::test]
async fn a_good_policy_does_not_wait_for_the_rest_of_its_file() {
    let desk = Desk::new();
    desk.write("a.yaml", &format!("{}---\n{}", policy("AuthorizationPolicy", "deny", MENDED), RULE.replace("NAME", "one").replace("HOST", "[]")));
    desk.open();
    assert!(desk.spec("AuthorizationPolicy", "deny").is_some() && !desk.is_stand_in("AuthorizationPolicy", "deny"));
    assert_eq!(desk.host("one"), None);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_any_more_keeps_what_it_said() {
    let desk = Desk::new();
    desk.write("a.yaml", &policy("AuthorizationPolicy", "deny", MISSPELT));
    desk.rule("b.yaml", "one", "reviews");
    let mut directory = desk.open();
    for file in ["a.yaml", "b.yaml"] {
        // Permissions do not stop root; a link to nowhere does.
        std::fs::remove_file(desk.files.path().join(file)).unwrap();
        std::os::unix::fs::symlink(desk.files.path().join("nowhere"), desk.files.path().join(file)).unwrap();
    }
    directory.refresh(false);
    says(&directory, "UnreadableFile", "b.yaml");
    assert!(desk.is_stand_in("AuthorizationPolicy", "deny") && desk.host("one").is_some());
    let mut directory = desk.open();
    assert!(desk.is_stand_in("AuthorizationPolicy", "deny") && desk.host("one").is_some(), "also after a restart");
    std::fs::write(desk.files.path().join("nowhere"), [0xff, 0xfe]).unwrap();
    directory.refresh(false);
    says(&directory, "UnreadableFile", "not UTF-8");
    assert!(desk.is_stand_in("AuthorizationPolicy", "deny") && desk.host("one").is_some(), "what is no text");
    std::fs::remove_file(desk.files.path().join("b.yaml")).unwrap();
    directory.refresh(true);
    assert_eq!(desk.host("one"), None);
}

#[tokio::test]
async fn a_file_that_is_renamed_never_takes_its_objects_away() {
    let desk = Desk::new();
    desk.rule("a.yaml", "one", "reviews");
    let mut directory = desk.open();
    let uid = |desk: &Desk| desk.store.get(kinds::named("DestinationRule").unwrap(), "shop", "one").unwrap().value["metadata"]["uid"].clone();
    let before = uid(&desk);
    std::fs::rename(desk.files.path().join("a.yaml"), desk.files.path().join("b.yaml")).unwrap();
    directory.refresh(true);
    assert_eq!(uid(&desk), before);
    // Renamed and broken at once.
    std::fs::remove_file(desk.files.path().join("b.yaml")).unwrap();
    desk.write("c.yaml", &format!("{}  hots: x\n", RULE.replace("NAME", "one").replace("HOST", "ratings")));
    directory.refresh(true);
    assert_eq!((uid(&desk), desk.host("one").as_deref()), (before, Some("reviews")));
}

#[tokio::test]
async fn the_api_wins_until_the_file_changes() {
    let desk = Desk::new();
    desk.rule("a.yaml", "one", "reviews");
    let mut directory = desk.open();
    let kind = kinds::named("DestinationRule").unwrap();
    let write = Write { manager: "kubectl".into(), now: desk.world.wall_text(), uid_seed: [9; 16], places: None, status_only: false, author: None };
    let change = desk.store.update(kind, "shop", "one", &write, &mut |object| {
        let mut value = object.value.clone();
        value["spec"]["host"] = "edited".into();
        Ok(value)
    });
    change.unwrap();
    directory.refresh(true);
    assert_eq!(desk.host("one").as_deref(), Some("edited"));
    desk.rule("a.yaml", "one", "ratings");
    directory.refresh(true);
    assert_eq!(desk.host("one").as_deref(), Some("ratings"));
}
