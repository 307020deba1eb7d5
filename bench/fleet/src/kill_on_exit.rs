//! The programs that this process has started end with it, however it ends.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

/// Kills a process group when this process ends. Dropping it frees the group.
///
/// Linux would do it with `PR_SET_PDEATHSIG`, but that needs unsafe code between fork and exec, and
/// means the *thread* that started the process. Here a shell waits for the end of a pipe, and the
/// kernel closes the pipe whatever becomes of us, after SIGKILL too. Only a SIGKILL in the millisecond
/// between the start of a process and this leaves it behind.
#[derive(Debug)]
pub(super) struct KillOnExit(Child);

impl KillOnExit {
    /// For the group of this leader. The caller drops it before the leader is reaped, or the
    /// id may be another's.
    ///
    /// # Errors
    /// When there is no shell.
    pub(super) fn group(leader: Pid) -> io::Result<KillOnExit> {
        Command::new("/bin/sh")
            .args(["-c", "read -r _; kill -s KILL -- \"-$0\"", &leader.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for the group that we are in.
            .process_group(0)
            .spawn()
            .map(KillOnExit)
    }
}

impl Drop for KillOnExit {
    fn drop(&mut self) {
        // Both fail only if somebody else has killed it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
