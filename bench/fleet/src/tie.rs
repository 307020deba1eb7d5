//! The programs that this process has started end with it, however it ends.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

/// Ties a process group to this process: if this one ends, the group is killed. Dropping it unties them.
///
/// Linux would do it with `PR_SET_PDEATHSIG`, but that needs unsafe code between fork and exec, and
/// means the *thread* that started the process. Here a shell waits for the end of a pipe, and the
/// kernel closes the pipe whatever becomes of us, after SIGKILL too. Only a SIGKILL in the millisecond
/// between the start of a process and its tie leaves it behind.
#[derive(Debug)]
pub(super) struct Tie(Child);

impl Tie {
    /// Ties a process group, by its leader. The caller unties it before the leader is reaped, or the
    /// id may be another's.
    ///
    /// # Errors
    /// When there is no shell.
    pub(super) fn group(leader: Pid) -> io::Result<Tie> {
        Command::new("/bin/sh")
            .args(["-c", "read -r _; kill -s KILL -- \"-$0\"", &leader.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for the group that we are in.
            .process_group(0)
            .spawn()
            .map(Tie)
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        // Both fail only if somebody else has killed it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
