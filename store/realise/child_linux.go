package realise

import "syscall"

// processGroup gives the child a session, and so a group, of its own: no program that it starts can ask for a password on our
// terminal. The kernel ends the child with us, even after kill -9; nix then ends its builders.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
}
