package realise

import "syscall"

// processGroup asks the kernel to end the child with us, even if nobody else can: nix then ends its builders.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
