//! The demo as a newcomer runs it, with a real language model: the one part that no fake can stand in for.

use std::process::Stdio;

use tokio::process::Command;

#[tokio::test]
async fn the_demo_ends_with_a_note_by_a_real_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_host"));
    demo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    demo.args(["demo", "--once", "--listen", "127.0.0.1:0", "--agents"]).arg(folder.path().join("agents"));
    demo.arg("--data").arg(folder.path().join("data")).arg("--vault").arg(folder.path().join("vault"));
    let ended = demo.stdin(Stdio::null()).kill_on_drop(true).output();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(1800), ended).await.expect("it ends").unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{said}\n{complained}");
    assert!(said.contains("── report ──") && said.contains("agent: note-maker"), "{said}");
    assert_eq!(crate::support::names(&folder.path().join("vault/inbox/drafts")).len(), 1);
}
