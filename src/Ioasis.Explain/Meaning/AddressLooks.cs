using System.Buffers.Binary;
using Ioasis.Intel.Architecture;

namespace Ioasis.Explain.Meaning;

/// <summary>What an address that faulted looks like.</summary>
internal enum AddressLook
{
    /// <summary>Nothing special.</summary>
    Plain,

    /// <summary>0, or a few bytes behind it.</summary>
    Null,

    /// <summary>All bits are set: what the DMA API returns for a map that failed.</summary>
    MappingError,

    /// <summary>A pattern that marks freed or uninitialised memory, or a removed list entry.</summary>
    Poison,

    /// <summary>The range of interrupt messages.</summary>
    InterruptRange,

    /// <summary>A virtual address of the kernel.</summary>
    KernelVirtual,

    /// <summary>A virtual address of a program.</summary>
    UserVirtual,

    /// <summary>A number of 32 bits whose sign went into the upper half.</summary>
    SignExtended,

    /// <summary>Physical memory of the machine, by its log.</summary>
    PhysicalMemory,

    /// <summary>A register of a device, by the log.</summary>
    DeviceRegister,

    /// <summary>A region that firmware keeps for itself, by the log.</summary>
    FirmwareRegion,

    /// <summary>Below 4 GiB, where Linux begins to give out IOVAs of PCI devices, from the top.</summary>
    LinuxIova,
}

/// <summary>Says what an address looks like, by itself and by what the log tells of the machine.</summary>
internal static class AddressLooks
{
    // Where Linux puts the doorbells of Arm's interrupt controllers for VFIO and iommufd.
    private const ulong ArmMsiFirst = 0x0800_0000;
    private const ulong ArmMsiLast = 0x080f_ffff;

    /// <summary>Looks at an address.</summary>
    /// <param name="fault">The fault, for its architecture and its device.</param>
    /// <param name="address">The address.</param>
    /// <param name="machine">What the log says of the machine.</param>
    /// <param name="words">One sentence for people.</param>
    public static AddressLook Of(Fault fault, ulong address, LogMachine machine, out string words)
    {
        ArgumentNullException.ThrowIfNull(fault);
        ArgumentNullException.ThrowIfNull(machine);
        bool isX86 = fault.Source is FaultSource.Intel or FaultSource.Amd;
        (AddressLook look, words) = address switch
        {
            < 0x1000 => (AddressLook.Null, "Address 0 or just behind it: a descriptor whose address was never filled in, or a buffer pointer of null."),
            _ when address >= ulong.MaxValue - 0xfff => (
                AddressLook.MappingError, "All bits set is what the DMA API returns for a map that failed (DMA_MAPPING_ERROR): the driver gave it to the device all the same."),
            _ when PoisonOf(address) is { } poison => (AddressLook.Poison, poison),
            >= InterruptAddress.First and <= InterruptAddress.Last when isX86 => (
                AddressLook.InterruptRange, "0xfee00000-0xfeefffff is for interrupt messages on x86: no memory can be mapped there."),
            >= ArmMsiFirst and <= ArmMsiLast when !isX86 && fault.Source is not FaultSource.RiscV => (
                AddressLook.InterruptRange, "0x08000000-0x080fffff is where Linux maps the interrupt controller's doorbell for devices given to programs and guests."),
            _ when KernelPlace(address, fault.Source) is { } place => (AddressLook.KernelVirtual, $"A virtual address of the kernel ({place}), where a DMA address is wanted."),
            _ when address >> 32 == 0xffff_ffff => (
                AddressLook.SignExtended, $"The upper half is all ones: a 32-bit number with sign, 0x{(uint)address:x}, made 64 bits wide{(address < 0xffff_ffff_c000_0000 && isX86 ? "; or an address of the kernel's own code and data" : "")}."),
            >= 0x5500_0000_0000 and <= 0x7fff_ffff_ffff => (
                AddressLook.UserVirtual, "Looks like a virtual address of a program (heap, library or stack): right only for a device that shares the program's address space (SVA)."),
            _ => (AddressLook.Plain, ""),
        };
        return look != AddressLook.Plain ? look : ByMachine(fault, address, machine, out words);
    }

    private static AddressLook ByMachine(Fault fault, ulong address, LogMachine machine, out string words)
    {
        if (machine.Reserved.FirstOrDefault(r => r.Contains(address)) is { } region)
        {
            words = $"Inside the region 0x{region.First:x}-0x{region.Last:x} that firmware keeps for {(region.Owner is "firmware" ? "a device" : region.Owner)} (RMRR).";
            return AddressLook.FirmwareRegion;
        }

        if (machine.Bars.FirstOrDefault(r => r.Contains(address)) is { } bar)
        {
            words = string.Equals(bar.Owner, fault.Device, StringComparison.Ordinal)
                ? $"The device's own registers, 0x{bar.First:x}-0x{bar.Last:x}."
                : $"Registers of {bar.Owner}, 0x{bar.First:x}-0x{bar.Last:x}: DMA from device to device.";
            return AddressLook.DeviceRegister;
        }

        if (machine.Memory.FirstOrDefault(r => r.Contains(address)) is { } memory)
        {
            words = $"The machine has memory at this physical address (0x{memory.First:x}-0x{memory.Last:x}): perhaps a physical address used as an IOVA.";
            return AddressLook.PhysicalMemory;
        }

        if (address is >= 0xc000_0000 and <= 0xffff_ffff)
        {
            words = "Just below 4 GiB: Linux gives out IOVAs of PCI devices from there downwards, so this is probably an address that was, or was nearly, mapped.";
            return AddressLook.LinuxIova;
        }

        words = "Nothing about the number itself is unusual.";
        return AddressLook.Plain;
    }

    private static string? KernelPlace(ulong address, FaultSource source) => (source, address >> 40) switch
    {
        (FaultSource.Intel or FaultSource.Amd, >= 0xffff88 and < 0xffffc9) => "x86's map of all memory",
        (FaultSource.Intel or FaultSource.Amd, >= 0xffffc9 and < 0xffffea) => "x86's vmalloc area",
        (FaultSource.Intel or FaultSource.Amd, >= 0xffffea and < 0xffffeb) => "x86's array of struct page",
        (_, >= 0xff0000 and < 0xffffff) => "the upper half of the address space",
        (_, 0xffffff) when address < 0xffff_ffff_0000_0000 => "the upper half of the address space",
        _ => null,
    };

    private static string? PoisonOf(ulong address)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, address & ~0xffful);
        byte repeated = bytes[3];
        bool isOneByte = bytes[2..].IndexOfAnyExcept(repeated) < 0;
        uint low = (uint)address;
        return address >> 32 is 0xdead_0000 or 0xdead_4ead
            ? "0xdead… is how the kernel marks a list entry that was removed: the driver followed a list that it no longer owned."
            : isOneByte && repeated is 0x6b or 0x5a or 0xa5 or 0xcc or 0xaa or 0xbb
                ? $"The byte 0x{repeated:x2} repeated marks memory that was freed or never initialised (slab and stack poisoning): the address was read out of such memory."
                : low is 0xdead_beef or 0xbaad_f00d or 0xcafe_babe or 0xfeed_face ? $"0x{low:x} is a marker that programmers use for memory not in use." : null;
    }
}
