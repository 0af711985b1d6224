package binarycache

import (
	"io/fs"
	"syscall"
)

// stateOf returns what tells a file from itself after a change, and how many names it has.
func stateOf(fi fs.FileInfo) (s fileState, links uint64) {
	st := fi.Sys().(*syscall.Stat_t)
	return fileState{fi.Size(), st.Ino, st.Mtim.Nano(), st.Ctim.Nano()}, uint64(st.Nlink)
}
