/* SPDX-License-Identifier: MIT */
#include "firebreak/telemetry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static struct conf_feature features[] = { { .name = "send" }, { .name = "shop\"ping\\" }, { .name = "unnamed" } };
static struct conf_datacenter datacenters[] = { { .name = "seoul" }, { .name = "busan" } };
static const struct conf conf = { .feature = features, .features = 3, .datacenter = datacenters, .datacenters = 2 };

static void buckets_cover_all_values_in_order(void **state)
{
	unsigned b;

	assert_int_equal(tm_hist_bucket(-5), 0);
	assert_int_equal(tm_hist_bucket(0), 0);
	assert_int_equal(tm_hist_bucket(INT64_MAX), TM_HIST_BUCKETS - 1);
	for (b = 0; b < TM_HIST_BUCKETS; b++) {
		int64_t limit = tm_hist_bucket_limit(b);

		assert_int_equal(tm_hist_bucket(limit - 1), b);
		assert_int_equal(tm_hist_bucket(limit), b + 1 < TM_HIST_BUCKETS ? b + 1 : b);
		if (b >= TM_HIST_STEPS) /* within 6.25 % */
			assert_true((limit - tm_hist_bucket_limit(b - 1)) * 16 <= tm_hist_bucket_limit(b - 1));
	}
	assert_true(tm_hist_bucket_limit(TM_HIST_BUCKETS - 1) >= INT64_C(64000000000));
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Against the exact quantile of the sorted values. */
static void quantiles_are_within_a_step(void **state)
{
	static const double q[] = { 0, 0.01, 0.5, 0.9, 0.99, 0.999, 1 };
	enum { N = 5000 };
	static int64_t value[N];
	static struct tm_hist a, b;
	uint64_t seed = 42;
	size_t i, rank;

	assert_int_equal(tm_hist_quantile(&a, 0.5), 0);
	for (i = 0; i < N; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		value[i] = (int64_t)(1000 + (seed >> 33) % (UINT64_C(1) << (10 + i % 25)));
		tm_hist_record(i % 2 ? &a : &b, value[i]);
	}
	tm_hist_merge(&a, &b);
	assert_int_equal(a.count, N);
	qsort(value, N, sizeof(*value), by_value);
	for (i = 0; i < sizeof(q) / sizeof(*q); i++) {
		int64_t got = tm_hist_quantile(&a, q[i]);

		rank = (size_t)(q[i] * N);
		if (rank < q[i] * N || !rank)
			rank++;
		assert_true(got > value[rank - 1]);
		assert_true((double)got <= (double)value[rank - 1] * 1.0625 + 64);
	}
}

static void exchanges_out_of_range_do_not_write_outside(void **state)
{
	static struct tm_worker t, zero;

	tm_exchange(&t, CONF_MAX_FEATURES, TM_SERVED, 0, 1);
	tm_exchange(&t, 0, TM_OUTCOMES_COUNT, 0, 1);
	assert_memory_equal(&t, &zero, sizeof(t));
	tm_exchange(&t, CONF_MAX_FEATURES - 1, TM_CLIENT, CONF_MAX_DATACENTERS + 7, -1);
	assert_int_equal(t.exchange[CONF_MAX_FEATURES - 1][TM_CLIENT][CONF_MAX_DATACENTERS], 1);
	assert_int_equal(t.latency[CONF_MAX_FEATURES - 1].count, 0);
}

static void merge_sums_and_restart_keeps_counters(void **state)
{
	static struct tm_worker a, b;

	tm_add(&a, TM_TURNS, 3);
	tm_set(&a, TM_DOWNSTREAM_OPEN, 5);
	a.fault[FAULT_IDLE_TIMEOUT] = 2;
	tm_exchange(&a, 1, TM_STALE, CONF_MAX_DATACENTERS, 2000000);
	tm_merge(&b, &a);
	tm_merge(&b, &a);
	assert_int_equal(b.scalar[TM_TURNS], 6);
	assert_int_equal(b.scalar[TM_DOWNSTREAM_OPEN], 10);
	assert_int_equal(b.fault[FAULT_IDLE_TIMEOUT], 4);
	assert_int_equal(b.exchange[1][TM_STALE][CONF_MAX_DATACENTERS], 2);
	assert_int_equal(b.latency[1].count, 2);
	tm_restart(&b);
	assert_int_equal(b.scalar[TM_TURNS], 6);
	assert_int_equal(b.scalar[TM_DOWNSTREAM_OPEN], 0);
	assert_int_equal(b.latency[1].count, 2);
	tm_forget_names(&b);
	assert_int_equal(b.exchange[1][TM_STALE][CONF_MAX_DATACENTERS], 0);
	assert_int_equal(b.latency[1].count, 0);
	assert_int_equal(b.fault[FAULT_IDLE_TIMEOUT], 4);
}

static void remap_follows_names(void **state)
{
	static struct conf_feature f2[] = { { .name = "new" }, { .name = "unnamed" }, { .name = "send" } };
	static struct conf_datacenter d2[] = { { .name = "busan" } };
	const struct conf to = { .feature = f2, .features = 3, .datacenter = d2, .datacenters = 1 };
	static struct tm_worker t;

	memset(&t, 0, sizeof(t));
	tm_exchange(&t, 0, TM_SERVED, 0, 1000); /* send, seoul: the datacenter is gone */
	tm_exchange(&t, 0, TM_SERVED, 1, 1000); /* send, busan */
	tm_exchange(&t, 1, TM_SERVED, 1, 1000); /* the feature is gone */
	tm_exchange(&t, 2, TM_REFUSED, CONF_MAX_DATACENTERS, 1000);
	tm_remap(&t, &conf, &to);
	assert_int_equal(t.exchange[2][TM_SERVED][0], 1);
	assert_int_equal(t.exchange[2][TM_SERVED][CONF_MAX_DATACENTERS], 1);
	assert_int_equal(t.latency[2].count, 2);
	assert_int_equal(t.exchange[1][TM_REFUSED][CONF_MAX_DATACENTERS], 1);
	assert_int_equal(t.exchange[0][TM_SERVED][0], 0);
	assert_int_equal(t.latency[0].count, 0);
}

static char *render(const struct tm_worker *t)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	tm_render(out, t, &conf);
	fclose(out);
	return text;
}

static void sample(struct tm_worker *t)
{
	memset(t, 0, sizeof(*t));
	tm_add(t, TM_BUSY_NS, 1500000000);
	tm_exchange(t, 0, TM_SERVED, 1, 3000000);
	tm_exchange(t, 0, TM_SERVED, 1, 5000000000);
	tm_exchange(t, 1, TM_REFUSED, CONF_MAX_DATACENTERS, 50000);
	tm_exchange(t, 0, TM_SERVED, 0, INT64_C(100000000000));
	t->fault[FAULT_MODE_REFUSED]++;
}

static void text_says_what_was_counted(void **state)
{
	static const char *const lines[] = {
		"\nfirebreak_loop_busy_seconds_total 1.500000000\n",
		"\nfirebreak_exchanges_total{feature=\"send\",outcome=\"served\",datacenter=\"busan\"} 2\n",
		"\nfirebreak_exchanges_total{feature=\"shop\\\"ping\\\\\",outcome=\"refused\",datacenter=\"none\"} 1\n",
		"\nfirebreak_faults_total{fault=\"mode-refused\"} 1\n",
		"\nfirebreak_exchange_duration_seconds_bucket{feature=\"send\",le=\"0.002097152\"} 0\n",
		"\nfirebreak_exchange_duration_seconds_bucket{feature=\"send\",le=\"0.004194304\"} 1\n",
		"\nfirebreak_exchange_duration_seconds_bucket{feature=\"send\",le=\"34.359738368\"} 2\n",
		"\nfirebreak_exchange_duration_seconds_bucket{feature=\"send\",le=\"+Inf\"} 3\n",
		"\nfirebreak_exchange_duration_seconds_count{feature=\"send\"} 3\n",
		"\nfirebreak_exchange_duration_seconds_sum{feature=\"send\"} 105.003000000\n",
	};
	static struct tm_worker t;
	char *text;
	size_t i;

	sample(&t);
	text = render(&t);
	for (i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		if (!strstr(text, lines[i]))
			fail_msg("missing %s in\n%s", lines[i], text);
	}
	free(text);
}

static void promtool_is_content(void **state)
{
	static struct tm_worker t;
	FILE *out;
	char *text;

	if (system("command -v promtool >/dev/null 2>&1"))
		skip();
	sample(&t);
	text = render(&t);
	out = popen("promtool check metrics", "w");
	assert_non_null(out);
	fputs(text, out);
	free(text);
	assert_int_equal(pclose(out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_cover_all_values_in_order),
		cmocka_unit_test(quantiles_are_within_a_step),
		cmocka_unit_test(exchanges_out_of_range_do_not_write_outside),
		cmocka_unit_test(merge_sums_and_restart_keeps_counters),
		cmocka_unit_test(remap_follows_names),
		cmocka_unit_test(text_says_what_was_counted),
		cmocka_unit_test(promtool_is_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
