//! Maps memory for a device through iommufd, has the device read it, unmaps it, and reads the fault of the next access. Without crates:
//! the few declarations that it needs stand here.
//!
//!     rustc --edition 2021 -L DIR dma.rs && LD_LIBRARY_PATH=DIR ./dma

use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_ulong, c_void};

#[repr(C)]
pub struct Platform([u8; 0]);
#[repr(C)]
pub struct Device([u8; 0]);

const NO_PASID: u32 = u32::MAX;
const O_RDWR: c_int = 2;

#[repr(C)]
struct Fault {
    size: u32,
    reason: u32,
    iova: u64,
    requester: u32,
    segment: u32,
    pasid: u32,
    request: u32,
    cause: u32,
    reserved: u32,
    detail: u64,
    device: [c_char; 64],
}

#[repr(C)]
struct Info {
    size: u32,
    group: u32,
    requester: u32,
    segment: u32,
    pasid_bits: u32,
    reserved: u32,
    name: [c_char; 64],
    address: [c_char; 32],
    device_path: [c_char; 64],
    group_path: [c_char; 64],
}

#[link(name = "ioasis")]
extern "C" {
    fn ioasis_errmsg() -> *const c_char;
    fn ioasis_platform_create(options: *const c_void, platform: *mut *mut Platform) -> c_int;
    fn ioasis_platform_destroy(platform: *mut Platform) -> c_int;
    fn ioasis_device_add(platform: *mut Platform, text: *const c_char, device: *mut *mut Device) -> c_int;
    fn ioasis_device_get_info(device: *mut Device, info: *mut Info) -> c_int;
    fn ioasis_open(platform: *mut Platform, path: *const c_char, flags: c_int) -> c_int;
    fn ioasis_ioctl(platform: *mut Platform, fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
    fn ioasis_dma_read(device: *mut Device, pasid: u32, iova: u64, buffer: *mut c_void, count: usize) -> c_int;
    fn ioasis_fault_next(platform: *mut Platform, fault: *mut Fault) -> c_int;
}

// include/uapi/linux/iommufd.h and vfio.h.
const IOMMU_IOAS_ALLOC: c_ulong = 0x3b81;
const IOMMU_IOAS_MAP: c_ulong = 0x3b85;
const IOMMU_IOAS_UNMAP: c_ulong = 0x3b86;
const VFIO_DEVICE_BIND_IOMMUFD: c_ulong = 0x3b76;
const VFIO_DEVICE_ATTACH_IOMMUFD_PT: c_ulong = 0x3b77;

#[repr(C)]
struct IoasAlloc { size: u32, flags: u32, out_ioas_id: u32 }
#[repr(C)]
struct IoasMap { size: u32, flags: u32, ioas_id: u32, reserved: u32, user_va: u64, length: u64, iova: u64 }
#[repr(C)]
struct IoasUnmap { size: u32, ioas_id: u32, iova: u64, length: u64 }
#[repr(C)]
struct Bind { argsz: u32, flags: u32, iommufd: i32, out_devid: u32 }
#[repr(C)]
struct Attach { argsz: u32, flags: u32, pt_id: u32 }

fn message() -> String {
    unsafe { CStr::from_ptr(ioasis_errmsg()) }.to_string_lossy().into_owned()
}

fn check(result: c_int) -> Result<c_int, String> {
    if result < 0 { Err(message()) } else { Ok(result) }
}

fn size_of<T>(_: &T) -> u32 {
    std::mem::size_of::<T>() as u32
}

unsafe fn ioctl<T>(platform: *mut Platform, fd: c_int, request: c_ulong, argument: &mut T) -> Result<c_int, String> {
    check(ioasis_ioctl(platform, fd, request, argument as *mut T as *mut c_void))
}

#[repr(C, align(4096))]
struct Page([u8; 4096]);

unsafe fn run() -> Result<(), String> {
    let mut platform = std::ptr::null_mut();
    check(ioasis_platform_create(std::ptr::null(), &mut platform))?;
    let mut device = std::ptr::null_mut();
    let text = CString::new("dma").unwrap();
    check(ioasis_device_add(platform, text.as_ptr(), &mut device))?;
    let mut info: Info = std::mem::zeroed();
    info.size = size_of(&info);
    check(ioasis_device_get_info(device, &mut info))?;

    let iommu_path = CString::new("/dev/iommu").unwrap();
    let iommu = check(ioasis_open(platform, iommu_path.as_ptr(), O_RDWR))?;
    let fd = check(ioasis_open(platform, info.device_path.as_ptr(), O_RDWR))?;
    let mut bind = Bind { argsz: 16, flags: 0, iommufd: iommu, out_devid: 0 };
    ioctl(platform, fd, VFIO_DEVICE_BIND_IOMMUFD, &mut bind)?;
    let mut space = IoasAlloc { size: 12, flags: 0, out_ioas_id: 0 };
    ioctl(platform, iommu, IOMMU_IOAS_ALLOC, &mut space)?;
    let mut attach = Attach { argsz: 12, flags: 0, pt_id: space.out_ioas_id };
    ioctl(platform, fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &mut attach)?;

    let mut page = Box::new(Page([0; 4096]));
    page.0[5] = 42;
    let mut map = IoasMap { size: 40, flags: 7, ioas_id: space.out_ioas_id, reserved: 0, user_va: page.0.as_ptr() as u64, length: 4096, iova: 0x40000 };
    ioctl(platform, iommu, IOMMU_IOAS_MAP, &mut map)?;
    let mut byte = 0u8;
    check(ioasis_dma_read(device, NO_PASID, 0x40005, &mut byte as *mut u8 as *mut c_void, 1))?;
    assert_eq!(byte, 42);

    let mut again = IoasMap { iova: 0x40800, ..map };
    assert!(ioctl(platform, iommu, IOMMU_IOAS_MAP, &mut again).is_err());
    println!("{}", message());

    let mut unmap = IoasUnmap { size: 24, ioas_id: space.out_ioas_id, iova: 0x40000, length: 4096 };
    ioctl(platform, iommu, IOMMU_IOAS_UNMAP, &mut unmap)?;
    assert_eq!(ioasis_dma_read(device, NO_PASID, 0x40005, &mut byte as *mut u8 as *mut c_void, 1), -14);
    let mut fault: Fault = std::mem::zeroed();
    fault.size = size_of(&fault);
    assert_eq!(check(ioasis_fault_next(platform, &mut fault))?, 1);
    assert_eq!(fault.iova, 0x40005);
    check(ioasis_platform_destroy(platform))?;
    Ok(())
}

fn main() {
    if let Err(text) = unsafe { run() } {
        eprintln!("{text}");
        std::process::exit(1);
    }
    println!("ok");
}
