//! The plugin ABI (plugins/ABI.md), version 1, for plugins with one column in and one out.
//!
//! Memory is one bump arena above the module's own data: below its floor lies what `configure` keeps, above it one batch.
//! There is no allocator and no standard library, so nothing is imported from the host.

use core::arch::wasm32::{memory_grow, memory_size, unreachable};
use core::ptr::addr_of_mut;
use core::slice;

const BATCH_MAGIC: u32 = 0x3142_5353;
const RESULT_MAGIC: u32 = 0x3152_5353;
const PAGE_BYTES: u64 = 65536;
const MAX_COLUMN_BYTES: u64 = 0x7fff_ffff;
const HIGHEST: u64 = 0xffff_0000;

/// What may become of a row.
#[allow(dead_code)]
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub enum Status {
    Ok = 0,
    Dropped = 1,
    Tombstone = 2,
    TooLarge = 3,
    NotUtf8 = 4,
    NotJson = 5,
    DuplicateField = 6,
    UnknownField = 7,
    MissingField = 8,
    WrongType = 9,
    RecordId = 10,
    Schema = 11,
    PluginFailed = 12,
}

extern "C" {
    static __heap_base: u8;
}

struct Arena {
    floor: u64,
    top: u64,
}

static mut ARENA: Arena = Arena { floor: 0, top: 0 };

/// There is one thread, and no call of the host comes while another runs.
fn arena() -> &'static mut Arena {
    unsafe {
        let arena = &mut *addr_of_mut!(ARENA);
        if arena.top == 0 {
            arena.floor = (&__heap_base as *const u8 as u64 + 15) & !15;
            arena.top = arena.floor;
        }
        arena
    }
}

/// Makes every byte before `end` addressable.
fn reach(end: u64) -> bool {
    let have = memory_size(0) as u64 * PAGE_BYTES;
    if end <= have {
        return true;
    }
    if end > HIGHEST {
        return false;
    }
    let need = ((end - have + PAGE_BYTES - 1) / PAGE_BYTES) as usize;
    // A few more where there are some: a batch costs few calls.
    (need < 16 && memory_grow(0, 16) != usize::MAX) || memory_grow(0, need) != usize::MAX
}

/// Takes `size` bytes off the arena; 0 when there are none left.
fn allocate(size: u64, align: u64) -> u64 {
    let arena = arena();
    let start = (arena.top + align - 1) & !(align - 1);
    if !reach(start + size) {
        return 0;
    }
    arena.top = start + size;
    start
}

/// The value of a row as it is written. When there is no memory left the batch fails; the host then tries it in parts.
pub struct Output {
    start: u64,
    end: u64,
    failed: bool,
}

impl Output {
    pub fn bytes(&mut self, bytes: &[u8]) {
        let end = self.end + bytes.len() as u64;
        if self.failed || end - self.start > MAX_COLUMN_BYTES || !reach(end) {
            self.failed = true;
            return;
        }
        // The output is the arena's last buffer, so it grows in place.
        unsafe { slice::from_raw_parts_mut(self.end as usize as *mut u8, bytes.len()) }
            .copy_from_slice(bytes);
        self.end = end;
    }

    pub fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }
}

unsafe fn view<'a>(at: u64, bytes: usize) -> &'a [u8] {
    slice::from_raw_parts(at as usize as *const u8, bytes)
}

unsafe fn words<'a>(at: u64, count: usize) -> &'a mut [u32] {
    slice::from_raw_parts_mut(at as usize as *mut u32, count)
}

#[repr(C, align(16))]
struct Words([u32; 16]);

static mut RESULT: Words = Words([0; 16]);
static mut ERROR: [u32; 2] = [0; 2];
static mut CONFIG: &[u8] = &[];

fn fail(text: &'static str) -> u32 {
    unsafe { *addr_of_mut!(ERROR) = [text.as_ptr() as u32, text.len() as u32] };
    0
}

#[no_mangle]
pub extern "C" fn abi_version() -> i32 {
    1
}

#[no_mangle]
pub extern "C" fn alloc(size: u32, align: u32) -> u32 {
    if align == 0 || align & (align - 1) != 0 {
        return 0;
    }
    allocate(size as u64, align as u64) as u32
}

/// # Safety
/// The host hands over memory that it has got from `alloc`.
#[no_mangle]
pub unsafe extern "C" fn configure(config: u32, bytes: u32) -> i32 {
    // The host wipes its copy when this returns, so what is kept is copied.
    let kept = allocate(bytes as u64, 16);
    if kept == 0 {
        return -1;
    }
    let copy = slice::from_raw_parts_mut(kept as usize as *mut u8, bytes as usize);
    copy.copy_from_slice(view(config as u64, bytes as usize));
    CONFIG = copy;
    arena().floor = arena().top;
    crate::check_config(CONFIG)
}

#[no_mangle]
pub extern "C" fn reset() {
    let arena = arena();
    arena.top = arena.floor;
}

#[no_mangle]
#[allow(unused_unsafe)] // Older compilers ask for it.
pub extern "C" fn last_error() -> u32 {
    unsafe { addr_of_mut!(ERROR) as u32 }
}

/// # Safety
/// The host hands over a batch as plugins/ABI.md describes it.
#[no_mangle]
pub unsafe extern "C" fn transform(batch: u32) -> u32 {
    let header = words(batch as u64, 12);
    let rows = header[1] as usize;
    if header[0] != BATCH_MAGIC || header[2] != 1 || header[3] != 0 || header[4] > 1 {
        return fail("bad batch");
    }
    let (validity, data) = (header[5] as u64, header[7] as u64);
    let offsets = words(header[6] as u64, rows + 1);
    let statuses = allocate(rows as u64 + 1, 16);
    let index_at = allocate(rows as u64 * 4 + 4, 16);
    let ends_at = allocate(rows as u64 * 4 + 4, 16);
    let start = allocate(16, 16);
    if statuses == 0 || index_at == 0 || ends_at == 0 || start == 0 {
        return fail("no memory");
    }
    let status = slice::from_raw_parts_mut(statuses as usize as *mut u8, rows);
    let index = words(index_at, rows + 1);
    let ends = words(ends_at, rows + 1);
    let mut output = Output { start, end: start, failed: false };
    let mut count = 0;
    ends[0] = 0;
    for row in 0..rows {
        let (from, to) = (offsets[row], offsets[row + 1]);
        let is_null = validity != 0 && view(validity, rows / 8 + 1)[row / 8] >> (row % 8) & 1 == 0;
        let before = output.end;
        let what = if is_null {
            Status::Tombstone
        } else {
            crate::row(view(data + from as u64, (to - from) as usize), CONFIG, &mut output)
        };
        if output.failed {
            return fail("no memory");
        }
        status[row] = what as u8;
        if what == Status::Ok {
            index[count] = row as u32;
            count += 1;
            ends[count] = (output.end - start) as u32;
        } else {
            output.end = before;
        }
    }
    arena().top = output.end;
    let result = &mut *addr_of_mut!(RESULT);
    result.0 = [
        RESULT_MAGIC, count as u32, 1, 0,
        rows as u32, statuses as u32, index_at as u32, 0,
        0, 0, ends_at as u32, start as u32,
        ends[count], 0, 0, 0,
    ];
    result.0.as_ptr() as u32
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unreachable()
}
