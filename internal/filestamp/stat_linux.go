package filestamp

import "syscall"

func ofSystem(st *syscall.Stat_t) (s Stamp, names uint64) {
	return Stamp{Size: st.Size, Device: uint64(st.Dev), Inode: st.Ino, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}, uint64(st.Nlink)
}
