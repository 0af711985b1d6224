package local

import "io/fs"

// Ctime is for tests that have to wait until the kernel's clock has ticked.
func Ctime(fi fs.FileInfo) int64 {
	_, _, ctime := inode(fi)
	return ctime
}
