/* SPDX-License-Identifier: MIT */
#include "show.h"

#include <stdio.h>
#include <string.h>

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static double number(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static int truth(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

/* "3d4h", "2h05m", "4m10s", "9s" */
static const char *period(double seconds, char out[32])
{
	long s = seconds > 0 ? (long)seconds : 0;

	if (s >= 86400)
		snprintf(out, 32, "%ldd%ldh", s / 86400, s % 86400 / 3600);
	else if (s >= 3600)
		snprintf(out, 32, "%ldh%02ldm", s / 3600, s % 3600 / 60);
	else if (s >= 60)
		snprintf(out, 32, "%ldm%02lds", s / 60, s % 60);
	else
		snprintf(out, 32, "%lds", s);
	return out;
}

/* At most six columns: "123456", "1.23M", "12.3M", "1.23G" */
static const char *count(double n, char out[32])
{
	static const char units[] = "kMGTP";
	int unit = -1;

	if (n < 1000000) {
		snprintf(out, 32, "%.0f", n);
		return out;
	}
	for (; n >= 1000 && units[unit + 1]; unit++)
		n /= 1000;
	snprintf(out, 32, "%.*f%c", n < 10 ? 2 : n < 100 ? 1 : 0, n, units[unit < 0 ? 0 : unit]);
	return out;
}

static const char *latency(double seconds, char out[32])
{
	if (seconds <= 0)
		return "-";
	if (seconds < 1)
		snprintf(out, 32, "%.*fms", seconds < 0.01 ? 2 : seconds < 0.1 ? 1 : 0, seconds * 1000);
	else
		snprintf(out, 32, "%.2fs", seconds);
	return out;
}

static void show_head(const json_t *s)
{
	char t[32];

	printf("firebreak %s on %s, configuration %.0f, control up %s\n", text(s, "version"), text(s, "node"), number(s, "generation"),
	       period(number(s, "uptime_s"), t));
	printf("mode      %s%s since %s\n", text(s, "mode"), truth(s, "mode_forced") ? " (set by an operator)" : "", text(s, "mode_since"));
	printf("capacity  %.0f%% reachable; %s%s\n", number(s, "reachable") * 100, truth(s, "ready") ? "ready: " : "NOT READY: ",
	       text(s, "ready_why"));
	if (strcmp(text(s, "spread"), "even") != 0)
		printf("spread    %s: see the shares of endpoints and datacenters\n", text(s, "spread"));
}

/* Nothing to say while nobody is there. */
static void show_fleet(const json_t *s)
{
	const json_t *fleet = json_object_get(s, "fleet"), *peers = json_object_get(fleet, "peers"), *p;
	size_t i;

	if (truth(fleet, "same_name"))
		printf("fleet     ANOTHER NODE IS CALLED %s, TOO\n", text(s, "node"));
	if (!json_array_size(peers))
		return;
	printf("fleet     %zu other%s:", json_array_size(peers), json_array_size(peers) == 1 ? "" : "s");
	json_array_foreach(peers, i, p) {
		if (i == 4) {
			printf(" ...");
			break;
		}
		printf(" %.16s%s", text(p, "node"), truth(p, "dissent") ? " (DISSENT)" : "");
	}
	putchar('\n');
}

/* Why it is in its state, or what it may have of its weight while it is worse than others. */
static const char *remark(const json_t *endpoint, char out[32])
{
	const char *why = text(endpoint, "why");

	if (strcmp(why, "none") != 0)
		return why;
	out[0] = 0;
	if (number(endpoint, "share") < 1)
		snprintf(out, 32, "gets %.0f%%", number(endpoint, "share") * 100);
	return out;
}

/* "pangyo restoring 37%, up in 38s (hold-over); standard 16%, optional 0%" */
const char *show_progress(const json_t *dc, char *out, size_t size)
{
	const json_t *next = json_object_get(dc, "next"), *in = json_object_get(next, "in_s");
	double share = number(dc, "share"), s;
	const char *tier, *separator = "; ";
	json_t *tiers = json_object_get(dc, "tier_shares"), *value;
	char t[32];
	size_t n;

	n = (size_t)snprintf(out, size, "%s %s %.0f%%", text(dc, "name"), text(dc, "state"), share * 100);
	if (json_is_number(in) && n < size)
		n += (size_t)snprintf(out + n, size - n, ", %s in %s", text(next, "state"), period(json_number_value(in), t));
	if (n < size)
		n += (size_t)snprintf(out + n, size - n, " (%s)", text(dc, "why"));
	json_object_foreach(tiers, tier, value) {
		s = json_number_value(value);
		if (s >= share - 0.0001 || n >= size)
			continue;
		n += (size_t)snprintf(out + n, size - n, "%s%s %.0f%%", separator, tier, s * 100);
		separator = ", ";
	}
	if (!strncmp(text(dc, "state"), "drain", 5) && n < size)
		snprintf(out + n, size - n, "; %.0f under way", number(json_object_get(dc, "load"), "streams"));
	return out;
}

static void show_datacenters(const json_t *all)
{
	const json_t *dc, *e, *endpoints;
	char t[32], gets[32], line[80];
	size_t i, k;

	printf("\n%-10s %-9s %4s %-21s %-9s %6s %s\n", "DATACENTER", "STATE", "GETS", "ENDPOINT", "STATE", "SINCE", "WHY");
	json_array_foreach(all, i, dc) {
		endpoints = json_object_get(dc, "endpoints");
		json_array_foreach(endpoints, k, e) {
			if (k)
				printf("%-25s", "");
			else
				printf("%-10.10s %-9s %3.0f%%", text(dc, "name"), text(dc, "state"), number(dc, "share") * 100);
			printf(" %-21.21s %-9s %6s %.15s\n", text(e, "address"), text(e, "state"), period(number(e, "since_s"), t),
			       remark(e, gets));
		}
		if (strcmp(text(dc, "state"), "up") != 0 || number(dc, "share") < 0.9999)
			printf("  %s\n", show_progress(dc, line, sizeof(line) - 2));
	}
}

/* Only while there is something to say. */
static void show_overload(const json_t *s)
{
	const json_t *overload = json_object_get(s, "overload"), *one, *load;
	size_t i;

	json_array_foreach(json_object_get(s, "datacenters"), i, one) {
		load = json_object_get(one, "load");
		if (number(load, "limit") > 0 || number(load, "core_limit") > 0)
			printf("\n%s has %.0f requests under way; limits: %.0f for lesser tiers, %.0f for the first (0: none)", text(one, "name"),
			       number(load, "in_flight"), number(load, "limit"), number(load, "core_limit"));
	}
	if (number(overload, "level") > 0) {
		printf("\noverload: %.0f%% of what is asked for is not let in;", number(overload, "level") * 100);
		json_array_foreach(json_object_get(overload, "tiers"), i, one)
			printf(" %s gets %.0f%%", text(one, "tier"), number(one, "share") * 100);
	}
	if (number(overload, "level") > 0)
		putchar('\n');
}

static const char *now(const json_t *f, char out[32])
{
	const char *word = text(f, "override");
	const json_t *ways = json_object_get(f, "ways");

	if (!strcmp(word, "share"))
		snprintf(out, 32, "share %.4g%%", number(f, "share") * 100);
	else if (strcmp(word, "auto"))
		snprintf(out, 32, "%s!", word);
	else
		snprintf(out, 32, "%s", json_array_size(ways) ? json_string_value(json_array_get(ways, 0)) : "");
	return out;
}

static void show_features(const json_t *all)
{
	char n[32], c[6][32];
	const json_t *f, *t;
	size_t i;

	printf("\n%-16s %-8s %-11s %6s %6s %6s %6s %6s %7s\n", "FEATURE", "TIER", "NOW", "SERVED", "F-OVER", "STALE", "REFUSD", "FAILED",
	       "P99");
	json_array_foreach(all, i, f) {
		t = json_object_get(f, "totals");
		printf("%-16.16s %-8.8s %-11.11s %6s %6s %6s %6s %6s %7s\n", text(f, "name"), text(f, "tier"), now(f, n),
		       count(number(t, "served"), c[0]), count(number(t, "failed-over"), c[1]), count(number(t, "stale"), c[2]),
		       count(number(t, "refused"), c[3]), count(number(t, "failed"), c[4]),
		       latency(number(json_object_get(f, "latency"), "p99_s"), c[5]));
	}
}

static void show_workers(const json_t *s)
{
	const json_t *all = json_object_get(s, "workers"), *w;
	double live = number(s, "live_version");
	size_t i;

	printf("\n%-7s %8s  %-6s %13s  %s\n", "WORKER", "PID", "ALIVE", "CONFIGURATION", "PUBLICATION");
	json_array_foreach(all, i, w) {
		printf("%-7.0f %8.0f  %-6s %13.0f  %.0f%s\n", number(w, "index"), number(w, "pid"), truth(w, "alive") ? "yes" : "NO",
		       number(w, "generation"), number(w, "live_version"), number(w, "live_version") < live ? " (behind)" : "");
	}
}

static void show_overrides(const json_t *all)
{
	const json_t *o;
	char t[32], what[32];
	size_t i;

	if (!json_array_size(all))
		return;
	printf("\n%-8s %-16s %-12s %8s  %s\n", "OVERRIDE", "ON", "TO", "LEFT", "BY AND WHY");
	json_array_foreach(all, i, o) {
		if (!strcmp(text(o, "value"), "share"))
			snprintf(what, sizeof(what), "share %.4g%%", number(o, "share") * 100);
		else
			snprintf(what, sizeof(what), "%s", text(o, "value"));
		printf("%-8s %-16.16s %-12s %8s  %s: %s\n", text(o, "kind"), text(o, "subject"), what, period(number(o, "left_s"), t),
		       text(o, "author"), text(o, "reason"));
	}
}

void show_status(const json_t *status)
{
	show_head(status);
	show_fleet(status);
	show_datacenters(json_object_get(status, "datacenters"));
	show_overload(status);
	show_features(json_object_get(status, "features"));
	show_workers(status);
	show_overrides(json_object_get(status, "overrides"));
}
