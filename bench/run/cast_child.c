/* SPDX-License-Identifier: MIT */
/*
 * The cast's processes, their ports and their folder. Everything dies with the
 * conductor: children get SIGKILL from the kernel (PR_SET_PDEATHSIG), and a janitor, who
 * only waits on a pipe, removes the folder when the other end is closed, by cast_stop() or by death.
 */
#include "cast.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/net.h"

#define ARENA 16384

/* ---- the folder ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	remove(path);
	return 0;
}

static void janitor(int fd, const char *folder)
{
	struct timespec moment = { .tv_nsec = 50 * CLOCK_MS };
	int tries;
	char word;

	setpgid(0, 0); /* ^C is for the conductor */
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	while (read(fd, &word, 1) < 0 && errno == EINTR)
		;
	/* Those who write into it are dying. */
	for (tries = 0; tries < 100; tries++) {
		nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
		if (access(folder, F_OK))
			break;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
	}
	_exit(0);
}

/* Also the standard ones: who reads our output need not wait for the janitor. */
static void close_all_but(int keep)
{
	if (keep > 0)
		syscall(SYS_close_range, 0u, (unsigned)keep - 1, 0u);
	syscall(SYS_close_range, (unsigned)keep + 1, ~0u, 0u);
}

bool cast_folder_create(struct cast *c, char *why, size_t size)
{
	const char *in = getenv("TMPDIR");
	int fds[2];

	errno = 0;
	if (snprintf(c->folder, sizeof(c->folder), "%s/firebreak-run.XXXXXX", in && *in ? in : "/tmp") >= (int)sizeof(c->folder) ||
	    !mkdtemp(c->folder)) {
		snprintf(why, size, "no temporary folder in %.100s: %s", in && *in ? in : "/tmp", errno ? strerror(errno) : "the name is too long");
		c->folder[0] = '\0';
		return false;
	}
	if (pipe2(fds, O_CLOEXEC) || (c->janitor_pid = fork()) < 0) {
		snprintf(why, size, "%s", strerror(errno));
		rmdir(c->folder);
		return false;
	}
	if (!c->janitor_pid) {
		close_all_but(fds[0]);
		janitor(fds[0], c->folder);
	}
	close(fds[0]);
	c->janitor = fds[1];
	return true;
}

/* ---- ports ---- */

static unsigned ephemeral_low(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	unsigned low = 32768;

	if (f && fscanf(f, "%u", &low) != 1)
		low = 32768;
	if (f)
		fclose(f);
	return low > 11000 ? low : 32768;
}

/*
 * The socket that proved the port free stays bound to it, without listening: nobody gets
 * the port from the kernel, and a rehearsal beside us finds it taken; but those we start
 * may bind it too, since all say SO_REUSEADDR (socket(7)).
 */
uint16_t cast_port(struct cast *c)
{
	unsigned low = ephemeral_low(), tries;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint32_t any;
	int on = 1, fd;

	for (tries = 0; tries < 1000 && c->ports < PORTS_MAX && crypt_random(&any, sizeof(any)); tries++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		a.sin_port = htons((uint16_t)(10000 + any % (low - 10000)));
		if (fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof(a)) && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) &&
		    !setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on))) {
			c->reserved[c->ports++] = fd;
			return ntohs(a.sin_port);
		}
		if (fd < 0)
			break;
		close(fd);
	}
	return 0;
}

void cast_ports_give_back(struct cast *c)
{
	while (c->ports)
		close(c->reserved[--c->ports]);
}

/* ---- a child ---- */

void child_init(struct child *ch, struct cast *c, const char *name)
{
	*ch = (struct child){ .c = c, .control = -1, .pidfd = -1 };
	snprintf(ch->name, sizeof(ch->name), "%s", name);
}

void child_arg(struct child *ch, const char *format, ...)
{
	size_t used = 0;
	va_list ap;
	unsigned i;
	int n;

	if (!ch->arena && !(ch->arena = calloc(1, ARENA)))
		return;
	for (i = 0; i < ch->args; i++)
		used += strlen(ch->arg[i]) + 1;
	va_start(ap, format);
	n = vsnprintf(ch->arena + used, ARENA - used, format, ap);
	va_end(ap);
	if (n >= 0 && used + (size_t)n < ARENA && ch->args + 1 < CHILD_ARGS)
		ch->arg[ch->args++] = ch->arena + used;
}

static void log_path(const struct child *ch, char *out, size_t size)
{
	snprintf(out, size, "%s/%s.log", ch->c->folder, ch->name);
}

static void become(const struct child *ch, int control, pid_t conductor)
{
	char path[160], number[16];
	sigset_t none;
	int log, nothing, i;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != conductor)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	log_path(ch, path, sizeof(path));
	log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
	dup2(nothing, 0);
	dup2(log, 1);
	dup2(log, 2);
	if (control >= 0) {
		fcntl(control, F_SETFD, 0);
		snprintf(number, sizeof(number), "%d", control);
		((struct child *)ch)->arg[ch->args] = "--control";
		((struct child *)ch)->arg[ch->args + 1] = number;
	}
	execvp(ch->arg[0], (char *const *)ch->arg);
	dprintf(2, "%s: %s\n", ch->arg[0], strerror(errno));
	_exit(127);
}

bool child_start(struct child *ch, char *why, size_t size)
{
	int fds[2] = { -1, -1 };
	pid_t conductor = getpid();

	if (!ch->arena || ch->args + 3 > CHILD_ARGS) {
		snprintf(why, size, "%s: too many arguments, or out of memory", ch->name);
		return false;
	}
	if (ch->wants_control && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
		snprintf(why, size, "%s: %s", ch->name, strerror(errno));
		return false;
	}
	if (ch->control >= 0)
		close(ch->control);
	ch->control = fds[0];
	ch->meant_to_end = false;
	ch->pid = fork();
	if (!ch->pid)
		become(ch, fds[1], conductor);
	if (fds[1] >= 0)
		close(fds[1]);
	if (ch->pid < 0) {
		snprintf(why, size, "%s: %s", ch->name, strerror(errno));
		ch->pid = 0;
		return false;
	}
	ch->pidfd = (int)syscall(SYS_pidfd_open, ch->pid, 0);
	if (ch->c->loop)
		child_watch(ch);
	return true;
}

bool child_gone(struct child *ch, int *status)
{
	int dummy;

	if (!ch->pid)
		return true;
	if (!waitpid(ch->pid, status ? status : &dummy, WNOHANG))
		return false;
	ch->pid = 0;
	if (ch->watch)
		net_unwatch(ch->watch);
	ch->watch = NULL;
	if (ch->pidfd >= 0)
		close(ch->pidfd);
	ch->pidfd = -1;
	return true;
}

static void on_exit_of(void *arg)
{
	struct child *ch = arg;
	int status = 0;

	if (child_gone(ch, &status) && ch->ended)
		ch->ended(ch, status);
}

void child_watch(struct child *ch)
{
	if (ch->pid && ch->pidfd >= 0 && !ch->watch)
		ch->watch = net_watch(ch->c->loop, ch->pidfd, on_exit_of, ch);
}

void child_close(struct child *ch)
{
	if (!ch->c)
		return;
	if (ch->watch)
		net_unwatch(ch->watch);
	if (ch->pidfd >= 0)
		close(ch->pidfd);
	if (ch->control >= 0)
		close(ch->control);
	free(ch->arena);
	*ch = (struct child){ .control = -1, .pidfd = -1 };
}

static void pause_ms(int ms)
{
	poll(NULL, 0, ms);
}

void child_end_all(struct child **list, unsigned n, int number, int ms)
{
	int64_t until = clock_tick() + ms * CLOCK_MS;
	bool all, killed = false;
	unsigned i;

	for (i = 0; i < n; i++) {
		list[i]->meant_to_end = true;
		if (list[i]->pid) {
			kill(list[i]->pid, number);
			kill(list[i]->pid, SIGCONT);
		}
	}
	for (;;) {
		for (i = 0, all = true; i < n; i++)
			all = child_gone(list[i], NULL) && all;
		if (all || (killed && clock_tick() > until + CLOCK_SEC))
			return;
		if (!killed && clock_tick() > until) {
			for (i = 0; i < n; i++) {
				if (list[i]->pid)
					kill(list[i]->pid, SIGKILL);
			}
			killed = true;
		}
		pause_ms(5);
	}
}

bool child_run(struct child *ch, int ms, char *why, size_t size)
{
	int64_t until = clock_tick() + ms * CLOCK_MS;
	char words[160];
	int status = 0;

	if (!child_start(ch, why, size))
		return false;
	while (!child_gone(ch, &status)) {
		if (clock_tick() > until)
			child_end_all(&ch, 1, SIGKILL, 0);
		pause_ms(2);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && clock_tick() <= until)
		return true;
	child_last_words(ch, words, sizeof(words));
	snprintf(why, size, "%s failed: %s", ch->name, words);
	return false;
}

void child_last_words(const struct child *ch, char *out, size_t size)
{
	char path[160], text[2048], *line;
	ssize_t n = -1;
	int fd;

	log_path(ch, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		off_t end = lseek(fd, 0, SEEK_END);

		n = pread(fd, text, sizeof(text) - 1, end > (off_t)sizeof(text) - 1 ? end - (off_t)sizeof(text) + 1 : 0);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	for (n = (ssize_t)strlen(text); n > 0 && text[n - 1] == '\n'; n--)
		text[n - 1] = '\0';
	line = strrchr(text, '\n');
	snprintf(out, size, "%s", line ? line + 1 : text);
}
