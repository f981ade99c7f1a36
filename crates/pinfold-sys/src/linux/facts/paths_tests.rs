use super::*;

#[test]
fn a_start_that_is_a_link_is_followed_however_few_names_it_has() {
    let base = std::env::temp_dir().join(format!("pinfold-paths-{}", std::process::id()));
    let base = AbsPath::posix(base.as_os_str().as_bytes()).unwrap();
    let (directory, link) = (base.join("real").unwrap(), base.join("link").unwrap());
    fs::create_dir_all(os_path(&directory)).unwrap();
    std::os::unix::fs::symlink("real", os_path(&link)).unwrap();
    let directory = real(&directory).unwrap();
    for count in 1..=WORTH_READING {
        let names = (0..count).map(|name| format!("name-{name}"));
        let asked: BTreeSet<AbsPath> = names.map(|name| link.join(name).unwrap()).collect();
        for (path, fact) in facts(&asked, &[&link], None) {
            assert!(fact.real.starts_with(&directory), "{count}: {path} is {fact:?}");
            assert_eq!(fact.kind, PathKind::Missing { nearest: directory.clone() }, "{count}");
        }
    }
    fs::remove_dir_all(os_path(&base)).unwrap();
}
