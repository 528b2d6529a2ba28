//! The dashboard's files, as they were when this program was built.

use taut_control::dashboard::assets::Assets;

pub const ASSETS: Assets = include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_has_a_page_and_no_script_in_it() {
        let Some(index) = ASSETS.iter().find(|asset| asset.path == "index.html") else {
            assert!(ASSETS.is_empty(), "files without a page: {ASSETS:?}");
            return;
        };
        let page = std::str::from_utf8(index.bytes).unwrap().to_ascii_lowercase();
        let inline = page.split("<script").skip(1).filter(|rest| !rest.split('>').next().is_some_and(|tag| tag.contains("src=")));
        assert_eq!(inline.count(), 0, "the policy lets no script in a page run");
        assert!(ASSETS.iter().all(|asset| asset.path.starts_with("assets/") || asset.path.rsplit_once('.').is_some()));
    }
}
