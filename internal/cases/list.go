package cases

// list has every open case once. A case that is mended leaves it, together with the skip in its test.
var list = []Case{
	{"I1", "H", "a package with its programs in the output bin is served as the output out, without any program", "right images"},
	{"I2", "H", "a content with a directory tmp takes the mode 1777 from /tmp of root: [tmp]", "right images"},
	{"I3", "H", "Cmd, Entrypoint or Shell as text passes check, and runtimes refuse the image", "right images"},
}
