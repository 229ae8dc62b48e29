//! Given: made-up procfs trees, text, and this very process. Gives: that what the kernel may write is read right and
//! anything else without panic. Refuses to know: other processes of the host.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A tree with one process, `/opt/server --game=7`, PID 7.
struct Tree(TempDir);

impl Tree {
    fn new() -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.start(7, "server", 100);
        tree.write("7/cmdline", b"/opt/server\0--game=7\0");
        tree.write("7/cgroup", b"0::/games\n");
        tree.write("7/environ", b"AGAME=no\0GAME=seven=7\0GAME=eight\0EMPTY=\0");
        tree.link("7/exe", "/opt/server");
        tree.write(
            "passwd",
            b"root:x:0:0::/root:/bin/sh\nbroken\ngame:x:1000:1000\nsame:x:1000:1000\n+::::\n",
        );
        tree
    }

    /// What every process has, kernel threads too.
    fn start(&self, pid: u32, comm: &str, start_ticks: u64) {
        fs::create_dir(self.0.path().join(pid.to_string())).unwrap();
        let before = "S 1 ".to_owned() + &"0 ".repeat(17);
        self.write(&format!("{pid}/stat"), format!("{pid} ({comm}) {before}{start_ticks} 0 0\n").as_bytes());
        self.write(
            &format!("{pid}/status"),
            format!("Name:\t{comm}\nTgid:\t{pid}\nPid:\t{pid}\nUid:\t0\t1000\t0\t0\n").as_bytes(),
        );
        self.write(&format!("{pid}/cmdline"), b"");
        self.write(&format!("{pid}/cgroup"), b"0::/\n");
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(path), bytes).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.0.path().join(path);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    fn procfs(&self) -> Procfs {
        Procfs::new(self.0.path(), &self.0.path().join("passwd"))
    }

    fn process(&self) -> Process {
        self.procfs().process(7).unwrap()
    }
}

#[test]
fn a_process_is_read() {
    let tree = Tree::new();
    let process = tree.process();
    assert_eq!(
        process.facts().unwrap(),
        ProcessFacts {
            pid: 7,
            start_ticks: 100,
            exe: Some("/opt/server".into()),
            cmdline: vec!["/opt/server".into(), "--game=7".into()],
            comm: "server".into(),
            cgroup: vec!["/games".into()],
            container_id: None,
            uid: Some(1000),
            user: Some("game".into()),
        }
    );
    assert!(!process.is_exe_deleted());
}

#[test]
fn a_variable_is_read_by_its_whole_name() {
    let tree = Tree::new();
    let process = tree.process();
    assert_eq!(process.variable("GAME").as_deref(), Some("seven=7"));
    assert_eq!(process.variable("EMPTY").as_deref(), Some(""));
    assert_eq!(process.variable("GAM"), None);
}

#[test]
fn nothing_is_read_before_it_is_asked_for() {
    let tree = Tree::new();
    let process = tree.process();
    tree.write("7/cmdline", b"later\0");
    tree.link("7/exe", "/opt/later");
    assert_eq!((process.cmdline(), process.exe()), (&["later".to_owned()][..], Some("/opt/later")));
    tree.write("7/cmdline", b"too late\0");
    assert_eq!(process.cmdline(), ["later"]);
}

#[test]
fn a_kernel_thread_has_neither_exe_nor_arguments() {
    let tree = Tree::new();
    tree.start(2, "kworker/0:1-events", 3);
    let facts = tree.procfs().process(2).unwrap().facts().unwrap();
    assert_eq!((facts.exe, facts.cmdline, facts.comm), (None, vec![], "kworker/0:1-events".into()));
}

#[test]
fn a_removed_exe_keeps_its_path() {
    let tree = Tree::new();
    tree.link("7/exe", "/opt/my server (deleted)");
    let process = tree.process();
    assert_eq!(process.exe(), Some("/opt/my server"));
    assert!(process.is_exe_deleted());
}

#[test]
fn the_id_of_a_thread_leads_to_its_process() {
    let tree = Tree::new();
    tree.start(8, "worker", 101);
    tree.write("8/status", b"Tgid:\t7\nPid:\t8\n");
    assert_eq!(tree.procfs().process(8).unwrap().facts().unwrap().start_ticks, 100);
}

#[test]
fn a_pid_that_was_given_to_another_does_not_mix() {
    let tree = Tree::new();
    let process = tree.process();
    let at = |name: &str| tree.0.path().join(name);
    fs::rename(at("7"), at("gone")).unwrap();
    tree.start(7, "another", 200);
    tree.write("7/cmdline", b"another\0");
    assert_eq!(process.facts().unwrap().cmdline, ["/opt/server", "--game=7"]);
    assert_eq!(tree.process().start_ticks(), 200);
}

#[test]
fn a_process_that_ends_is_gone() {
    let tree = Tree::new();
    let process = tree.process();
    fs::remove_dir_all(tree.0.path().join("7")).unwrap();
    assert!(matches!(process.facts(), Err(Unreadable::Gone)));
    assert!(matches!(process.maps(), Err(Unreadable::Gone)));
    assert_eq!(process.variable("GAME"), None);
    assert!(matches!(tree.procfs().process(7), Err(Unreadable::Gone)));
}

#[test]
fn errors_say_what_is_wrong() {
    let of = |errno| Unreadable::from(io::Error::from_raw_os_error(errno)).to_string();
    assert_eq!(of(libc::ESRCH), "no such process");
    assert_eq!(of(libc::ENOENT), "no such process");
    assert_eq!(of(libc::EACCES), "no permission to look at the process");
    assert_eq!(of(libc::EIO), "cannot read the process: Input/output error (os error 5)");
    let tree = Tree::new();
    tree.write("7/stat", b"7 (server) S 1");
    let error = tree.procfs().process(7).unwrap_err();
    assert_eq!(error.to_string(), "cannot make sense of stat of the process");
}

#[test]
fn only_numbers_are_processes() {
    let tree = Tree::new();
    tree.start(1234, "late", 5);
    tree.write("uptime", b"1.0 1.0\n");
    assert_eq!(tree.procfs().list().unwrap(), [7, 1234]);
}

#[test]
fn users_without_a_file_have_no_names() {
    let tree = Tree::new();
    let procfs = Procfs::new(tree.0.path(), Path::new("/nowhere/passwd"));
    let process = procfs.process(7).unwrap();
    assert_eq!((process.uid(), process.user()), (Some(1000), None));
}

#[test]
fn names_of_threads_may_hold_anything() {
    let check = |comm: &str| {
        let stat = format!("7 ({comm}) S 1 {}99 0", "0 ".repeat(17));
        assert_eq!(Stat::parse(stat.as_bytes()), Some(Stat { comm: comm.into(), start_ticks: 99 }));
    };
    for comm in ["server", "my server", "a) S 1 (b", "((", "))", "", "tab\there"] {
        check(comm);
    }
    assert_eq!(Stat::parse(b"7 server S 1"), None);
    assert_eq!(Stat::parse(b""), None);
}

#[test]
fn groups_of_both_versions_are_read() {
    let check = |text: &str, expect: &[&str]| assert_eq!(cgroup_paths(text.as_bytes()), expect);
    check("0::/system.slice/game.service\n", &["/system.slice/game.service"]);
    check("2:cpu,cpuacct:/a\n1:name=systemd:/b\n3:pids:/a\n", &["/a", "/b"]);
    check("1:cpu:/v1\n0::/v2\n", &["/v1", "/v2"]);
    check("0::/a:b/c\n", &["/a:b/c"]);
    check("0::/gone (deleted)\n", &["/gone"]);
    check("0::/../../init.scope\n", &["/../../init.scope"]);
    check("\nx\n0:\n0::\n", &[]);
}

#[test]
fn containers_are_found_under_each_runtime() {
    let id = "0123456789abcdef".repeat(4);
    let inner = "f".repeat(64);
    let check = |path: &str, expect: Option<&String>| {
        let path = path.replace("ID", &id).replace("INNER", &inner);
        assert_eq!(container_id(std::slice::from_ref(&path)).as_ref(), expect, "{path}");
    };
    for path in [
        "/docker/ID",
        "/system.slice/docker-ID.scope",
        "/docker/ID/init.scope",
        "/system.slice/containerd.service/kubepods-burstable-pod12_34.slice:cri-containerd:ID",
        "/kubepods.slice/kubepods-pod12.slice/cri-containerd-ID.scope",
        "/kubepods/besteffort/pod1e1bb8c5-70b7-4a8b-93b9-6c1b2a6f7a0d/ID",
        "/kubepods.slice/kubepods-besteffort.slice/crio-ID.scope",
        "/machine.slice/libpod-ID.scope/container",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
    ] {
        check(path, Some(&id));
    }
    check("/docker/ID/docker/INNER", Some(&inner));
    check("/machine.slice/libpod-conmon-ID.scope", None);
    check("/kubepods.slice/crio-conmon-ID.scope", None);
    check("/docker/IDa", None);
    check("/docker/0123456789abcdef", None);
    check(&format!("/docker/{}", "G".repeat(64)), None);
    assert_eq!(container_id(&["/user.slice".into(), format!("/docker/{id}")]), Some(id));
}

#[test]
fn arguments_are_split_where_they_end() {
    let check = |text: &[u8], expect: &[&str]| assert_eq!(text::arguments(text), expect);
    check(b"", &[]);
    check(b"\0\0", &[]);
    check(b"a\0b c\0", &["a", "b c"]);
    check(b"a\0\0b\0", &["a", "", "b"]);
    check(b"nginx: worker process\0\0\0\0", &["nginx: worker process"]);
    check(b"no end", &["no end"]);
    check(b"\xff\0", &["\u{fffd}"]);
}

fn check_mapping(line: &[u8], expect: Option<Mapping>) {
    assert_eq!(mappings(line), Vec::from_iter(expect));
}

#[test]
fn mappings_are_read() {
    let mapping = Mapping {
        start: 0x7f00_0000_1000,
        end: 0x7f00_0000_3000,
        permissions: *b"r-xp",
        offset: 0x3000,
        device: (0xfe, 1),
        inode: 247741,
        path: Some("/usr/lib/lib ssl.so.3".into()),
        deleted: false,
    };
    assert!(mapping.is_executable());
    let line =
        "7f0000001000-7f0000003000 r-xp 00003000 fe:01 247741                     /usr/lib/lib ssl.so.3";
    check_mapping(line.as_bytes(), Some(mapping.clone()));
    let line = line.to_owned() + " (deleted)\n";
    check_mapping(line.as_bytes(), Some(Mapping { deleted: true, ..mapping }));
}

#[test]
fn mappings_without_a_file_are_read() {
    let mapping = Mapping {
        start: 0x1000,
        end: 0xffff_ffff_ffff_f000,
        permissions: *b"rw-p",
        offset: 0,
        device: (0, 0),
        inode: 0,
        path: None,
        deleted: false,
    };
    check_mapping(b"1000-fffffffffffff000 rw-p 00000000 00:00 0 \n", Some(mapping.clone()));
    check_mapping(b"1000-fffffffffffff000 rw-p 00000000 00:00 0", Some(mapping.clone()));
    let heap = Mapping { path: Some("[heap]".into()), ..mapping.clone() };
    check_mapping(b"1000-fffffffffffff000 rw-p 00000000 00:00 0      [heap]", Some(heap));
    let bytes = Mapping { path: Some(OsStr::from_bytes(b"/\xff").into()), ..mapping };
    check_mapping(b"1000-fffffffffffff000 rw-p 00000000 00:00 0      /\xff", Some(bytes));
}

#[test]
fn what_is_no_mapping_is_left_out() {
    for line in
        ["", "1000-2000", "1000 rw-p 0 00:00 0", "1000-+2000 rw-p 0 00:00 0", "1000-2000 rw-pp 0 00:00 0"]
    {
        check_mapping(line.as_bytes(), None);
    }
}

#[test]
fn this_process_is_read() {
    let procfs = Procfs::new("/proc", Path::new("/etc/passwd"));
    let process = procfs.process(std::process::id()).unwrap();
    let facts = process.facts().unwrap();
    assert_eq!(facts.exe.as_deref(), std::env::current_exe().unwrap().to_str());
    assert_eq!(facts.cmdline, std::env::args().collect::<Vec<_>>());
    assert_eq!(process.variable("PATH"), std::env::var("PATH").ok());
    let code = this_process_is_read as fn() as usize as u64;
    let mapping =
        process.maps().unwrap().into_iter().find(|map| map.start <= code && code < map.end).unwrap();
    assert!(mapping.is_executable() && mapping.path == facts.exe.map(PathBuf::from));
    assert!(procfs.list().unwrap().contains(&facts.pid));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~\n\t]{0,200}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            Stat::parse(bytes);
            uid(bytes);
            text::tgid(bytes);
            container_id(&cgroup_paths(bytes));
            text::arguments(bytes);
            text::variable(bytes, "GAME");
            Users::parse(bytes);
            mappings(bytes);
        }
    }

    #[test]
    fn mappings_that_are_cut_are_not_invented(cut in 0usize..300) {
        let maps = "1000-2000 r-xp 00000000 fe:00 11    /a\n".repeat(7);
        let whole = mappings(maps.as_bytes());
        let some = mappings(maps.as_bytes().get(..cut).unwrap_or(maps.as_bytes()));
        prop_assert!(some.len() <= whole.len());
        let certain = some.len().saturating_sub(1);
        prop_assert_eq!(&some[..certain], &whole[..certain]);
    }
}
