package hostfile

import (
	"io/fs"
	"syscall"

	"nixreg/store"
)

func stamp(fi fs.FileInfo) store.Stamp {
	st := fi.Sys().(*syscall.Stat_t)
	return store.Stamp{Inode: st.Ino, Ctime: st.Ctimespec.Nano()}
}
