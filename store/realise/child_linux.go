package realise

import "syscall"

// processGroup gives the child a session of its own, and with it a group, so that nothing it starts asks for a password on
// our terminal. The kernel ends the child with us, even if nobody else can: nix then ends its builders.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
}
