/* SPDX-License-Identifier: MIT */
/*
 * The written form of single values, both ways: numbers, durations, sizes and shares
 * with their units, and the words, names and addresses that are kept as text.
 */
#include "conf_private.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* Rising; the first is the base. */
static const struct unit time_units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
static const struct unit size_units[] = { { "B", 1 }, { "KiB", 1u << 10 }, { "MiB", 1u << 20 }, { "GiB", 1u << 30 },
					{ "TiB", 1ull << 40 } };

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Leading digits; false: none. Too many saturate. */
static bool digits(const char **text, uint64_t *out)
{
	const char *s = *text;
	uint64_t v = 0;

	for (; *s >= '0' && *s <= '9'; s++)
		v = v > (UINT64_MAX - 9) / 10 ? UINT64_MAX : v * 10 + (uint64_t)(*s - '0');
	if (s == *text)
		return false;
	*text = s;
	*out = v;
	return true;
}

static enum value_result with_unit(const char *text, const struct unit *units, size_t n, uint64_t *out)
{
	uint64_t v;
	size_t i;

	if (!digits(&text, &v))
		return VALUE_BAD;
	if (!*text && !v) { /* zero needs no unit */
		*out = 0;
		return VALUE_OK;
	}
	for (i = 0; i < n; i++) {
		if (strcmp(text, units[i].name) != 0)
			continue;
		if (v > UINT64_MAX / units[i].factor)
			return VALUE_RANGE;
		*out = v * units[i].factor;
		return VALUE_OK;
	}
	return VALUE_BAD;
}

/* "12.34%" in basis points. */
static enum value_result share(const char *text, uint64_t *out)
{
	uint64_t whole, part = 0;

	if (!digits(&text, &whole))
		return VALUE_BAD;
	if (*text == '.') {
		text++;
		if (*text < '0' || *text > '9')
			return VALUE_BAD;
		part = (uint64_t)(*text++ - '0') * 10;
		if (*text >= '0' && *text <= '9')
			part += (uint64_t)(*text++ - '0');
	}
	if (strcmp(text, "%") != 0)
		return VALUE_BAD;
	if (whole > 1000000)
		return VALUE_RANGE;
	*out = whole * 100 + part;
	return VALUE_OK;
}

enum value_result value_parse(enum conf_type type, const char *text, uint64_t *out)
{
	enum value_result r;

	switch (type) {
	case CONF_T_DURATION:
		return with_unit(text, time_units, COUNT(time_units), out);
	case CONF_T_SECONDS:
		r = with_unit(text, time_units, COUNT(time_units), out);
		if (r == VALUE_OK && *out % 1000)
			return VALUE_BAD;
		*out /= 1000;
		return r;
	case CONF_T_SIZE:
		return with_unit(text, size_units, COUNT(size_units), out);
	case CONF_T_SHARE:
		return share(text, out);
	case CONF_T_PERCENT:
		r = share(text, out);
		if (r == VALUE_OK && *out % 100)
			return VALUE_BAD;
		*out /= 100;
		return r;
	case CONF_T_NUMBER:
		return digits(&text, out) && !*text ? VALUE_OK : VALUE_BAD;
	default:
		return VALUE_BAD;
	}
}

/* A unit by its first letter, however it goes on: "sec", "KB", "mins". None: the one
 * people have in mind when they leave it out. */
static const char *unit_meant(const char *written, const struct unit *units, size_t n, const char *none)
{
	if (!*written)
		return none;
	if (n == COUNT(time_units) && (strncmp(written, "ms", 2) == 0 || strncmp(written, "mil", 3) == 0))
		return "ms";
	while (n-- && ((written[0] | ' ') != (units[n].name[0] | ' ')))
		;
	return n < COUNT(time_units) ? units[n].name : NULL;
}

bool value_meant(enum conf_type type, const char *text, char *out, size_t size)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	const char *rest = text, *unit = NULL;
	uint64_t v;

	if (!digits(&rest, &v))
		return false;
	snprintf(out, size, "%" PRIu64, v);
	rest += strspn(rest, " ");
	if (rest[strspn(rest, letters)])
		return false;
	if (type == CONF_T_DURATION || type == CONF_T_SECONDS)
		unit = unit_meant(rest, time_units, COUNT(time_units), "s");
	else if (type == CONF_T_SIZE)
		unit = unit_meant(rest, size_units, COUNT(size_units), "B");
	else if (type == CONF_T_SHARE || type == CONF_T_PERCENT)
		unit = *rest ? NULL : "%";
	if (!unit)
		return false;
	snprintf(out + strlen(out), size - strlen(out), "%s", unit);
	return value_parse(type, out, &v) == VALUE_OK;
}

static void print_with_unit(uint64_t v, const struct unit *units, size_t n, char *out, size_t size)
{
	while (n > 1 && (!v || v % units[n - 1].factor))
		n--;
	if (!v && units == time_units)
		n = 2; /* "0s" reads better than "0ms" */
	snprintf(out, size, "%" PRIu64 "%s", v / units[n - 1].factor, units[n - 1].name);
}

void value_print(enum conf_type type, uint64_t value, char *out, size_t size)
{
	switch (type) {
	case CONF_T_DURATION:
		print_with_unit(value, time_units, COUNT(time_units), out, size);
		break;
	case CONF_T_SECONDS:
		print_with_unit(value * 1000, time_units, COUNT(time_units), out, size);
		break;
	case CONF_T_SIZE:
		print_with_unit(value, size_units, COUNT(size_units), out, size);
		break;
	case CONF_T_SHARE:
		if (value % 100)
			snprintf(out, size, "%" PRIu64 ".%02" PRIu64 "%%", value / 100, value % 100);
		else
			snprintf(out, size, "%" PRIu64 "%%", value / 100);
		break;
	case CONF_T_PERCENT:
		snprintf(out, size, "%" PRIu64 "%%", value);
		break;
	default:
		snprintf(out, size, "%" PRIu64, value);
	}
}

bool value_choice_word(const char *words, unsigned n, char *out, size_t size)
{
	size_t len;

	for (; n; n--) {
		words = strchr(words, '|');
		if (!words)
			return false;
		words++;
	}
	len = strcspn(words, "|");
	if (len >= size)
		return false;
	memcpy(out, words, len);
	out[len] = '\0';
	return true;
}

int value_choice(const char *words, const char *text)
{
	char word[64];
	int i;

	for (i = 0; value_choice_word(words, (unsigned)i, word, sizeof(word)); i++)
		if (strcmp(word, text) == 0)
			return i;
	return -1;
}

bool value_name_ok(const char *text, size_t min, size_t max)
{
	size_t i;

	for (i = 0; text[i]; i++)
		if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z') ||
		      (text[i] >= '0' && text[i] <= '9') || (i && strchr("-_.", text[i]))))
			return false;
	return i >= min && i <= max;
}

/* A field name as it travels in HTTP/2 (RFC 9113 8.2.1): a token without capitals. */
bool value_field_ok(const char *text)
{
	size_t i;

	for (i = 0; text[i]; i++)
		if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') || strchr("!#$%&'*+-.^_`|~", text[i])))
			return false;
	return i > 0 && i <= 128;
}

static bool port_ok(const char *text)
{
	uint64_t v;

	return strlen(text) <= 5 && digits(&text, &v) && !*text && v >= 1 && v <= 65535;
}

/* Letters, digits, "-", "." and "_": what a host name is made of, and an IPv4 address too. */
static bool host_ok(const char *host, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!((host[i] >= 'a' && host[i] <= 'z') || (host[i] >= 'A' && host[i] <= 'Z') ||
		      (host[i] >= '0' && host[i] <= '9') || host[i] == '.' || host[i] == '_' || (host[i] == '-' && i)))
			return false;
	return len > 0 && len <= 253;
}

/* Only digits and dots: meant as an IPv4 address. */
static bool looks_numeric(const char *host)
{
	return strspn(host, "0123456789.") == strlen(host);
}

const char *value_address_check(const char *text, bool numeric)
{
	unsigned char bytes[16];
	char host[256];
	const char *colon = strrchr(text, ':');
	size_t len;

	if (strncmp(text, "unix:", 5) == 0) {
		if (!text[5])
			return "has no path";
		return strlen(text + 5) < sizeof(((struct sockaddr_un *)0)->sun_path) ? NULL : "has a path that is too long for a socket";
	}
	if (strstr(text, "://"))
		return "is a URL";
	if (!colon || !port_ok(colon + 1))
		return "has no port from 1 to 65535";
	len = (size_t)(colon - text);
	if (len >= sizeof(host))
		return "has a host that is too long";
	memcpy(host, text, len);
	host[len] = '\0';
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		return inet_pton(AF_INET6, host + 1, bytes) == 1 ? NULL : "has no IPv6 address in its brackets";
	}
	if (!host_ok(host, len))
		return strchr(host, ':') ? "has an IPv6 address without brackets" : "has no host";
	if ((numeric || looks_numeric(host)) && inet_pton(AF_INET, host, bytes) != 1)
		return numeric ? "has a host that is not an IP address" : "has a host that is not an IPv4 address";
	return NULL;
}

static bool host_bits_clear(const unsigned char *bytes, unsigned prefix, unsigned bits)
{
	unsigned i;

	for (i = prefix; i < bits; i++)
		if (bytes[i / 8] & (0x80u >> (i % 8)))
			return false;
	return true;
}

const char *value_network_check(const char *text)
{
	const char *slash = strchr(text, '/'), *rest = slash ? slash + 1 : "";
	unsigned char bytes[16];
	char host[64];
	unsigned bits;
	uint64_t prefix;
	size_t len = slash ? (size_t)(slash - text) : strlen(text);

	if (len >= sizeof(host))
		return "is not an IP network";
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(AF_INET, host, bytes) == 1)
		bits = 32;
	else if (inet_pton(AF_INET6, host, bytes) == 1)
		bits = 128;
	else
		return "is not an IP network";
	if (!slash)
		return NULL;
	if (strlen(rest) > 3 || !digits(&rest, &prefix) || *rest || prefix > bits)
		return "has no prefix length that fits";
	return host_bits_clear(bytes, (unsigned)prefix, bits) ? NULL : "has bits set beyond its prefix";
}
