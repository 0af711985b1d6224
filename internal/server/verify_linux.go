package server

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCached makes the kernel read a file from the disk again: a bit that flipped there does not show in memory. If that
// fails, what is in memory is read.
func dropCached(f *os.File) {
	_ = f.Sync() // what is not written yet cannot be dropped
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
