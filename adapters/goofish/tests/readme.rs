//! The README's table names tests; each of them is there.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

fn sources(folder: &Path, out: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_table_names_exists() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&package.join("tests"), &mut all);
    sources(&package.join("../../tests/goofish"), &mut all);
    let readme = std::fs::read_to_string(package.join("README.md")).unwrap();
    let table = readme
        .split("\n## ")
        .find(|part| part.starts_with("Every capability"))
        .unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .collect();
    assert!(rows.len() > 25, "{} rows", rows.len());
    let mut missing = Vec::new();
    for row in rows {
        let proof = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let named: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        // A row proves itself by a test, or by a file of them that is named.
        assert!(
            !named.is_empty() || proof.contains(" T ") || proof.contains(" A "),
            "{row}"
        );
        for name in named {
            let begin = format!("fn {}", name.trim_end_matches('…'));
            if !name.contains('.') && !all.contains(&begin) {
                missing.push(name.to_owned());
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}
