//! The YAML in `crds/` is what the structs say. `POINTSMAN_BLESS=1` rewrites it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::Path;

#[test]
fn generated_yaml_has_not_drifted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    for (file, yaml) in pointsman_api::crds::all().unwrap() {
        let path = folder.join(&file);
        if std::env::var_os("POINTSMAN_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &yaml).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == yaml,
            "crds/{file} has drifted from crates/api; run `make crds` and commit it"
        );
    }
}

#[test]
fn every_definition_stays_well_below_the_limit_of_an_annotation() {
    for (file, yaml) in pointsman_api::crds::all().unwrap() {
        assert!(yaml.len() < 200_000, "{file} has {} bytes", yaml.len());
    }
}
