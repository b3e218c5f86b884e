/**
 * The plugin ABI (plugins/ABI.md), version 1, for plugins with one column in and one out. Include it in one file.
 *
 * The plugin defines check_config() and row(). Memory is one bump arena above the module's own data: below its floor lies
 * what configure() keeps, above it one batch. No C library is needed: build with -nostdlib.
 */
#ifndef SEALSTREAM_H
#define SEALSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name), used))

enum status {
  OK = 0, /* What was written is the row's value; with any other status it is thrown away. */
  DROPPED, /* Taken out on purpose: no dead letter. */
  TOMBSTONE,
  TOO_LARGE,
  NOT_UTF8,
  NOT_JSON,
  DUPLICATE_FIELD,
  UNKNOWN_FIELD,
  MISSING_FIELD,
  WRONG_TYPE,
  RECORD_ID,
  SCHEMA,
  PLUGIN_FAILED,
};

struct bytes {
  const uint8_t *at;
  size_t length;
};

/** 0, or a number that says what is wrong. `config` stays as it is for the life of the plugin. */
static int check_config(struct bytes config);
/** Does one row: writes its value with put() and put_bytes(), and answers its status. */
static enum status row(struct bytes value, struct bytes config);

#define PAGE_BYTES 65536u
#define HIGHEST 0xffff0000ull
#define MAX_COLUMN_BYTES 0x7fffffffu

extern uint8_t __heap_base;

static uint64_t arena_floor, arena_top;
static uint64_t output_start, output_end;
static bool output_failed;
static struct bytes kept_config;
static uint32_t last[2];
static uint32_t result[16] __attribute__((aligned(16)));

static bool reach(uint64_t end) {
  uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
  if (end <= have) return true;
  if (end > HIGHEST) return false;
  size_t need = (size_t)((end - have + PAGE_BYTES - 1) / PAGE_BYTES);
  /* A few more where there are some: a batch costs few calls. */
  if (need < 16 && __builtin_wasm_memory_grow(0, 16) != SIZE_MAX) return true;
  return __builtin_wasm_memory_grow(0, need) != SIZE_MAX;
}

static uint64_t allocate(uint64_t size, uint64_t align) {
  if (arena_top == 0) arena_floor = arena_top = ((uintptr_t)&__heap_base + 15) & ~15ull;
  uint64_t start = (arena_top + align - 1) & ~(align - 1);
  if (!reach(start + size)) return 0;
  arena_top = start + size;
  return start;
}

/** Appends bytes to the row. Without memory the batch fails as a whole; the host then tries it in parts. */
static void put_bytes(const uint8_t *at, size_t length) {
  /* The output is the arena's last buffer, so it grows in place. */
  if (output_failed || output_end + length - output_start > MAX_COLUMN_BYTES || !reach(output_end + length)) {
    output_failed = true;
    return;
  }
  uint8_t *to = (uint8_t *)(uintptr_t)output_end;
  for (size_t i = 0; i < length; i++) to[i] = at[i];
  output_end += length;
}

/** Appends one byte to the row. */
static void put(uint8_t byte) { put_bytes(&byte, 1); }

static uint32_t fail(const char *text, uint32_t length) {
  last[0] = (uint32_t)(uintptr_t)text;
  last[1] = length;
  return 0;
}

EXPORT(abi_version) int32_t sealstream_abi_version(void) { return 1; }

EXPORT(alloc) uint32_t sealstream_alloc(uint32_t size, uint32_t align) {
  if (align == 0 || (align & (align - 1)) != 0) return 0;
  return (uint32_t)allocate(size, align);
}

EXPORT(configure) int32_t sealstream_configure(const uint8_t *config, uint32_t length) {
  /* The host wipes its copy when this returns, so what is kept is copied. */
  uint8_t *copy = (uint8_t *)(uintptr_t)allocate(length, 16);
  if (copy == NULL) return -1;
  for (uint32_t i = 0; i < length; i++) copy[i] = config[i];
  kept_config = (struct bytes){copy, length};
  arena_floor = arena_top;
  return check_config(kept_config);
}

EXPORT(reset) void sealstream_reset(void) { arena_top = arena_floor; }

EXPORT(last_error) uint32_t *sealstream_last_error(void) { return last; }

EXPORT(transform) uint32_t sealstream_transform(const uint32_t *batch) {
  uint32_t rows = batch[1];
  if (batch[0] != 0x31425353 || batch[2] != 1 || batch[3] != 0 || batch[4] > 1) return fail("bad batch", 9);
  const uint8_t *validity = (const uint8_t *)(uintptr_t)batch[5];
  const uint32_t *offsets = (const uint32_t *)(uintptr_t)batch[6];
  const uint8_t *data = (const uint8_t *)(uintptr_t)batch[7];
  uint8_t *status = (uint8_t *)(uintptr_t)allocate((uint64_t)rows + 1, 16);
  uint32_t *index = (uint32_t *)(uintptr_t)allocate((uint64_t)rows * 4 + 4, 16);
  uint32_t *ends = (uint32_t *)(uintptr_t)allocate((uint64_t)rows * 4 + 4, 16);
  output_start = output_end = allocate(16, 16);
  output_failed = false;
  if (status == NULL || index == NULL || ends == NULL || output_start == 0) return fail("no memory", 9);
  uint32_t count = 0;
  ends[0] = 0;
  for (uint32_t i = 0; i < rows; i++) {
    bool is_null = validity != NULL && (validity[i / 8] >> (i % 8) & 1) == 0;
    uint64_t before = output_end;
    struct bytes value = {data + offsets[i], offsets[i + 1] - offsets[i]};
    status[i] = is_null ? TOMBSTONE : (uint8_t)row(value, kept_config);
    if (output_failed) return fail("no memory", 9);
    if (status[i] != OK) {
      output_end = before;
      continue;
    }
    index[count++] = i;
    ends[count] = (uint32_t)(output_end - output_start);
  }
  arena_top = output_end;
  const uint32_t made[16] = {
      0x31525353, count, 1, 0, rows, (uint32_t)(uintptr_t)status, (uint32_t)(uintptr_t)index, 0,
      0, 0, (uint32_t)(uintptr_t)ends, (uint32_t)output_start, ends[count], 0, 0, 0,
  };
  for (int i = 0; i < 16; i++) result[i] = made[i];
  return (uint32_t)(uintptr_t)result;
}

#endif
