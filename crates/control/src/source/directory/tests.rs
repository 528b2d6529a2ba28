//! A directory's life: files that come, change, break and go.

use super::*;
use taut_model::kinds;
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
    let write = Write { manager: "kubectl".into(), now: desk.world.wall_text(), uid_seed: [9; 16], places: None, status_only: false };
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
    let fault = Directory::open(Path::new("/nonexistent/config"), desk.store.clone(), desk.world.clone()).err().unwrap().to_string();
    assert!(fault.contains("/nonexistent/config") && fault.contains("--config"), "{fault}");
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
