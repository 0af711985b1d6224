package realise

import "syscall"

func processGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
