/*
 * The demo's program: it prints two files of another store path, which is a reference of its own path.
 * Freestanding: no C library, no loader, no writable data; raw system calls only.
 */

#ifndef GREETING
#error "GREETING is the full store path of greeting-1.0"
#endif

#if defined(__x86_64__)

enum { SYS_read = 0, SYS_write = 1, SYS_exit = 231, SYS_openat = 257 };

static long call(long n, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;
	__asm__ volatile("syscall"
	                 : "=a"(ret)
	                 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10)
	                 : "rcx", "r11", "memory");
	return ret;
}

/* The kernel starts a program with an aligned stack and no return address; the ABI wants one below it. */
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tcall hello\n");

#elif defined(__aarch64__)

enum { SYS_openat = 56, SYS_read = 63, SYS_write = 64, SYS_exit = 94 };

static long call(long n, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tb hello\n");

#else
#error "no system calls for this machine"
#endif

enum { AT_FDCWD = -100, EINTR = 4, STDOUT = 1, STDERR = 2 };

static long length(const char *s)
{
	long n = 0;
	while (s[n])
		n++;
	return n;
}

/* put writes all of buf and tells whether it could. */
static int put(int fd, const char *buf, long n)
{
	while (n > 0) {
		long did = call(SYS_write, fd, (long)buf, n, 0);
		if (did == -EINTR)
			continue;
		if (did <= 0)
			return 0;
		buf += did;
		n -= did;
	}
	return 1;
}

static int die(const char *what, const char *path)
{
	put(STDERR, "hello: ", 7);
	put(STDERR, what, length(what));
	put(STDERR, path, length(path));
	put(STDERR, "\n", 1);
	call(SYS_exit, 1, 0, 0, 0);
	__builtin_unreachable();
}

static void show(const char *path)
{
	char buf[1024];
	long fd = call(SYS_openat, AT_FDCWD, (long)path, 0, 0);
	if (fd < 0)
		die("cannot open ", path);
	for (;;) {
		long n = call(SYS_read, fd, (long)buf, sizeof buf, 0);
		if (n == 0)
			return;
		if (n == -EINTR)
			continue;
		if (n < 0)
			die("cannot read ", path);
		if (!put(STDOUT, buf, n))
			die("cannot print ", path);
	}
}

__attribute__((noreturn, used)) void hello(void)
{
	show(GREETING "/share/greeting.txt");
	show(GREETING "/share/logo.txt");
	call(SYS_exit, 0, 0, 0, 0);
	__builtin_unreachable();
}
