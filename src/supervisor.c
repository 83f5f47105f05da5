/* SPDX-License-Identifier: MIT */
/*
 * A plain poll loop over a signalfd: no library, nothing that could fail in the one
 * process that must not. Children are forked from here, so they start with the
 * configuration in force, the board and their sockets already in memory.
 *
 *   SIGHUP   check the file again; good: every child gets its bytes (a sealed memfd)
 *   SIGTERM  workers drain, then all end, exit 0; a second one: at once
 *   SIGUSR1  reopen logs
 *   SIGCHLD  replace who died; who dies young is replaced with a growing pause
 *
 * A child that goes on with an older configuration is sent the one in force again: the
 * message, or what was needed to follow it, may have been lost.
 *
 * A process whose loop stands still is killed and so replaced: new connections would
 * go on landing in the queue of a socket nobody reads, and without control nothing is
 * checked and nothing can be toggled.
 */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "firebreak/admin.h"
#include "firebreak/board.h"
#include "firebreak/clock.h"
#include "firebreak/control.h"
#include "firebreak/crypt.h"
#include "firebreak/exchange.h"
#include "firebreak/log.h"
#include "firebreak/net.h"
#include "firebreak/proc.h"

#define CONTROL   -1 /* role of the control process; workers are 0.. */
#define YOUNG     (2 * CLOCK_SEC)
#define PAUSE_MAX CLOCK_SEC
#define KILL_WAIT (2 * CLOCK_SEC) /* beyond the drain timeout */
#define TELL_WAIT (3 * CLOCK_SEC) /* beyond what a worker waits for control */
#define TURN_MS   50
#define HUNG      (5000 / TURN_MS) /* turns of ours without one of the child's, which has one each 50 ms (control: 100) */

struct child {
	pid_t pid; /* 0: not running */
	int socket;
	int64_t started, start_at, pause;
	int64_t told; /* when it had the configuration from us: forked with it, or sent */
	uint64_t heartbeat;
	unsigned still; /* our turns since it moved: time may jump for all of us at once */
};

static struct supervisor {
	const struct conf *conf, *before; /* before: until the last reload; who died by it left its counts so */
	int conf_fd; /* its bytes, once it came by a reload; -1 */
	unsigned workers;
	struct board *board;
	struct board_live live; /* control's last publication: its generation is control's */
	struct child control, worker[CONF_MAX_WORKERS];
	int listen_fd[CONF_MAX_WORKERS][CONF_MAX_LISTENERS];
	int admin_fd, signal_fd;
	unsigned char ticket_key[80], secret[32];
	bool control_ran, stopping, stop_now;
	int64_t stop_by;
} sup;

/* ---- sockets ---- */

static bool open_listeners(void)
{
	char why[256];
	unsigned w;
	size_t l;

	for (l = 0; l < sup.conf->listeners; l++) {
		const char *address = sup.conf->listener[l].address;

		for (w = 0; w < sup.workers; w++) {
			/* Workers share a Unix socket; TCP ones are their own (SO_REUSEPORT). */
			snprintf(why, sizeof(why), "out of descriptors");
			if (w && !strncmp(address, "unix:", 5))
				sup.listen_fd[w][l] = fcntl(sup.listen_fd[0][l], F_DUPFD_CLOEXEC, 0);
			else
				sup.listen_fd[w][l] = net_listen_open(address, why, sizeof(why));
			if (sup.listen_fd[w][l] < 0) {
				fprintf(stderr, "firebreak: %s\n", why);
				return false;
			}
		}
	}
	sup.admin_fd = -1;
	if (sup.conf->admin.address) {
		sup.admin_fd = net_listen_open(sup.conf->admin.address, why, sizeof(why));
		if (sup.admin_fd < 0) {
			fprintf(stderr, "firebreak: admin: %s\n", why);
			return false;
		}
	}
	return true;
}

/* All but those of worker `kept`. */
static void close_listeners(int kept)
{
	size_t w, l;

	for (w = 0; w < sup.workers; w++) {
		for (l = 0; l < sup.conf->listeners && (int)w != kept; l++) {
			if (sup.listen_fd[w][l] >= 0)
				close(sup.listen_fd[w][l]);
			sup.listen_fd[w][l] = -1;
		}
	}
}

static void unlink_sockets(void)
{
	size_t l;

	for (l = 0; l < sup.conf->listeners; l++) {
		if (!strncmp(sup.conf->listener[l].address, "unix:", 5))
			unlink(sup.conf->listener[l].address + 5);
	}
	if (sup.conf->admin.address && !strncmp(sup.conf->admin.address, "unix:", 5))
		unlink(sup.conf->admin.address + 5);
}

/* ---- children ---- */

static void role_name(int role, char who[32])
{
	if (role == CONTROL)
		snprintf(who, 32, "control");
	else
		snprintf(who, 32, "worker %d", role);
}

static void close_others(const struct child *self)
{
	unsigned w;

	close(sup.signal_fd);
	if (sup.conf_fd >= 0)
		close(sup.conf_fd);
	if (sup.control.pid && &sup.control != self)
		close(sup.control.socket);
	for (w = 0; w < sup.workers; w++) {
		if (sup.worker[w].pid && &sup.worker[w] != self)
			close(sup.worker[w].socket);
	}
}

/* The supervisor alone answers signals; a Ctrl-C reaches the whole group. */
static void child_signals(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE, SIGXFSZ };
	sigset_t none;
	size_t i;

	for (i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int run_child(int role, int socket)
{
	char who[32];

	child_signals();
	role_name(role, who);
	log_role(who);
	proc_title(who);
	close_listeners(role);
	if (role == CONTROL) {
		struct ctl_args args = { sup.board, sup.conf, sup.admin_fd, &admin_server, socket, sup.control_ran };

		return ctl_run(&args);
	}
	struct xchg_worker_args args = { (unsigned)role, sup.board,      sup.conf,   sup.before,
					 sup.listen_fd[role], sup.ticket_key, sup.secret, socket };

	return xchg_worker_run(&args);
}

static void spawn(struct child *c, int role)
{
	int pair[2];
	pid_t pid;

	log_flush(); /* or the child would write it again */
	if (!proc_pair(pair))
		return;
	pid = fork();
	if (pid < 0) {
		close(pair[0]);
		close(pair[1]);
		c->start_at = clock_now() + CLOCK_SEC;
		return;
	}
	if (pid == 0) {
		close(pair[0]);
		close_others(c);
		exit(run_child(role, pair[1]));
	}
	close(pair[1]);
	c->pid = pid;
	c->socket = pair[0];
	c->started = c->told = clock_now();
	c->start_at = 0;
	c->still = 0;
	if (role == CONTROL) {
		*board_control_pid(sup.board) = pid;
		sup.control_ran = true;
	} else {
		board_worker(sup.board, (unsigned)role)->pid = pid;
	}
}

static void each_child(void (*f)(struct child *, int role, void *), void *arg)
{
	unsigned w;

	f(&sup.control, CONTROL, arg);
	for (w = 0; w < sup.workers; w++)
		f(&sup.worker[w], (int)w, arg);
}

static void report_death(int role, pid_t pid, int status)
{
	char who[32], how[64], number[16];

	role_name(role, who);
	if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(how, sizeof(how), "exit %d", WEXITSTATUS(status));
	snprintf(number, sizeof(number), "%d", (int)pid);
	log_event(sup.stopping ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "process.ended", "process", who, "how", how, "pid", number, NULL);
}

static void child_ended(struct child *c, int role, int status)
{
	int64_t now = clock_now();

	report_death(role, c->pid, status);
	close(c->socket);
	c->pid = 0;
	if (role == CONTROL)
		*board_control_pid(sup.board) = 0;
	else
		board_worker(sup.board, (unsigned)role)->pid = 0;
	if (now - c->started >= YOUNG)
		c->pause = 0;
	c->start_at = now + c->pause;
	c->pause = c->pause ? (2 * c->pause > PAUSE_MAX ? PAUSE_MAX : 2 * c->pause) : 50 * CLOCK_MS;
}

struct death {
	pid_t pid;
	int status;
};

static void match_death(struct child *c, int role, void *arg)
{
	struct death *d = arg;

	if (c->pid && c->pid == d->pid)
		child_ended(c, role, d->status);
}

static void reap(void)
{
	struct death d;

	while ((d.pid = waitpid(-1, &d.status, WNOHANG)) > 0)
		each_child(match_death, &d);
}

static void start_due(struct child *c, int role, void *arg)
{
	if (!c->pid && c->start_at <= clock_now())
		spawn(c, role);
}

static uint64_t heartbeat(int role)
{
	if (role == CONTROL)
		return board_control_tm(sup.board)->scalar[TM_TURNS];
	return atomic_load_explicit(&board_worker(sup.board, (unsigned)role)->heartbeat, memory_order_relaxed);
}

static void watch_heartbeat(struct child *c, int role, void *arg)
{
	uint64_t beat;
	char who[32];

	if (!c->pid)
		return;
	beat = heartbeat(role);
	c->still = beat == c->heartbeat ? c->still + 1 : 0;
	c->heartbeat = beat;
	if (c->still < HUNG)
		return;
	role_name(role, who);
	log_event(LOG_LEVEL_ERROR, "process.hung", "process", who, NULL);
	kill(c->pid, SIGKILL);
	c->still = 0;
}

/* ---- commands ---- */

struct order {
	enum proc_command command;
	uint64_t number;
	int fd;
};

static void send_order(struct child *c, int role, void *arg)
{
	const struct order *o = arg;

	if (c->pid)
		proc_send(c->socket, o->command, o->number, o->fd);
	if (o->command == PROC_CONFIG)
		c->told = clock_now();
}

static void tell_again(struct child *c, int role, void *arg)
{
	struct order o = { PROC_CONFIG, sup.conf->generation, sup.conf_fd };
	uint64_t has = role == CONTROL ? sup.live.generation : board_worker(sup.board, (unsigned)role)->generation;
	char who[32];

	if (!c->pid || has == o.number || o.fd < 0 || clock_now() - c->told < TELL_WAIT)
		return;
	role_name(role, who);
	log_event(LOG_LEVEL_WARN, "config.sent_again", "process", who, NULL);
	send_order(c, role, &o);
}

static bool same_sockets(const struct conf *a, const struct conf *b)
{
	const char *x = a->admin.address, *y = b->admin.address;
	size_t i;

	if (a->listeners != b->listeners || !x != !y || (x && strcmp(x, y)) || a->workers != b->workers)
		return false;
	for (i = 0; i < a->listeners; i++) {
		if (strcmp(a->listener[i].address, b->listener[i].address))
			return false;
	}
	return true;
}

/* The first line of what was wrong, for the log; all of it goes to stderr. */
static void reject(const char *report)
{
	char first[256];

	snprintf(first, sizeof(first), "%.*s", (int)strcspn(report, "\n"), report);
	fputs(report, stderr);
	log_event(LOG_LEVEL_ERROR, "config.rejected", "why", first, NULL);
}

static bool follow_logs(const struct conf *conf, const char **failed, int *e)
{
	*e = log_configure(conf->log.events, conf->log.access, (enum log_level)conf->log.level, failed);
	return !*e;
}

/* What only shows when it is tried. The logs go last: from then on they are the new ones. */
static bool applicable(const struct conf *conf, FILE *out)
{
	const char *failed, *unused;
	int e, ignored;

	if (!same_sockets(conf, sup.conf)) {
		fprintf(out, "%s: error: listen, admin.address or workers changed; these need a restart\n", conf->path);
	} else if (!follow_logs(conf, &failed, &e)) {
		follow_logs(sup.conf, &unused, &ignored);
		fprintf(out, "%s: error: cannot open log %s: %s\n", conf->path, failed, strerror(e));
	} else {
		return true;
	}
	return false;
}

static void reload(void)
{
	struct order o = { PROC_CONFIG, sup.conf->generation + 1, -1 };
	char *report = NULL, *text = NULL;
	const struct conf *conf;
	unsigned long len = 0;
	size_t size;
	FILE *out = open_memstream(&report, &size);

	if (!out)
		return;
	conf = load_checked(sup.conf->path, out, &text, &len);
	if (conf && applicable(conf, out) && (o.fd = proc_bytes_to_fd(text, len)) < 0)
		fprintf(out, "%s: error: out of memory or descriptors\n", conf->path);
	fclose(out);
	if (o.fd < 0) {
		reject(report);
		conf_free(conf);
	} else {
		((struct conf *)(uintptr_t)conf)->generation = o.number;
		conf_free(sup.before);
		sup.before = sup.conf;
		sup.conf = conf;
		if (sup.conf_fd >= 0)
			close(sup.conf_fd);
		sup.conf_fd = o.fd;
		each_child(send_order, &o);
		log_event(LOG_LEVEL_INFO, "config.reloaded", NULL);
	}
	free(text);
	free(report);
}

static void stop(void)
{
	struct order o = { sup.stopping ? PROC_STOP : PROC_DRAIN, 0, -1 };

	sup.stop_now = sup.stopping;
	sup.stopping = true;
	sup.stop_by = clock_now() + KILL_WAIT + (sup.stop_now ? 0 : sup.conf->drain_timeout_ms * CLOCK_MS);
	log_event(LOG_LEVEL_INFO, sup.stop_now ? "service.stopping" : "service.draining", NULL);
	/* Who connects from now on is told so at once, instead of waiting in a queue
	 * nobody reads. */
	close_listeners(-1);
	each_child(send_order, &o);
}

static void on_signal(void)
{
	struct signalfd_siginfo info;
	struct order reopen = { PROC_REOPEN, 0, -1 };

	while (read(sup.signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD: reap(); break;
		case SIGHUP: reload(); break;
		case SIGUSR1:
			log_reopen();
			each_child(send_order, &reopen);
			break;
		default: stop(); break;
		}
	}
}

/* ---- the life of the service ---- */

static unsigned processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return CPU_COUNT(&set) > CONF_MAX_WORKERS ? CONF_MAX_WORKERS : (unsigned)CPU_COUNT(&set);
}

static bool prepare(void)
{
	struct rlimit files;
	sigset_t set;

	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a log at its size limit costs lines, not us */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sup.signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	sup.board = board_create(sup.workers);
	return sup.signal_fd >= 0 && sup.board && crypt_init() && crypt_random(sup.ticket_key, sizeof(sup.ticket_key)) &&
	       crypt_random(sup.secret, sizeof(sup.secret));
}

/* Whatever is wrong is said on stderr: there may be no log yet. */
static bool open_all(void)
{
	const char *failed;
	int e;

	if (!follow_logs(sup.conf, &failed, &e)) {
		fprintf(stderr, "firebreak: cannot open log %s: %s\n", failed, strerror(e));
		return false;
	}
	return open_listeners();
}

static bool any_worker(void)
{
	unsigned w;

	for (w = 0; w < sup.workers; w++) {
		if (sup.worker[w].pid)
			return true;
	}
	return false;
}

static void kill_child(struct child *c, int role, void *arg)
{
	if (c->pid)
		kill(c->pid, SIGKILL);
}

/* Workers first, control last: it answers /readyz while they drain. */
static void run(void)
{
	struct pollfd p = { .fd = sup.signal_fd, .events = POLLIN };
	struct order end = { PROC_STOP, 0, -1 };
	bool told = false;

	while (!sup.stopping || any_worker() || sup.control.pid) {
		clock_tick();
		if (!sup.stopping) {
			each_child(start_due, NULL);
			each_child(watch_heartbeat, NULL);
			board_read(sup.board, &sup.live);
			each_child(tell_again, NULL);
		} else if (!any_worker() && !told && (told = true)) {
			each_child(send_order, &end);
		} else if (clock_now() > sup.stop_by) {
			each_child(kill_child, NULL);
		}
		log_flush();
		poll(&p, 1, TURN_MS);
		clock_tick();
		on_signal();
	}
}

int supervise(const struct conf *conf)
{
	sup.conf = conf;
	sup.conf_fd = -1;
	((struct conf *)(uintptr_t)conf)->generation = 1;
	sup.workers = conf->workers ? conf->workers : processors();
	if (!prepare() || !open_all())
		return 1;
	log_role("supervisor");
	clock_tick();
	log_event(LOG_LEVEL_INFO, "service.started", "version", FIREBREAK_VERSION, "config", conf->path, NULL);
	run();
	log_event(LOG_LEVEL_INFO, "service.stopped", NULL);
	log_flush();
	unlink_sockets();
	conf_free(sup.before);
	conf_free(sup.conf);
	board_destroy(sup.board);
	return 0;
}
