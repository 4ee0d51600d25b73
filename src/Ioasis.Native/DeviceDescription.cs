using System.Numerics;
using Ioasis.Devices;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>Makes of <c>struct ioasis_device_options</c> what the machine's devices are described by.</summary>
internal static class DeviceDescription
{
    // The ID, the link and the length of a vendor-specific capability, and the bytes that there are behind all others.
    private const uint VendorHeader = 3;
    private const uint LongestVendor = 96;

    /// <summary>Checks the options and describes the device.</summary>
    /// <returns>Null; or which of them cannot be.</returns>
    public static Failure? Make(in DeviceOptions options, out PciDeviceDescription? description)
    {
        description = null;
        string? wrong = FindFault(options);
        List<PciBar> bars = [];
        for (int i = 0; i < 6 && wrong is null; i++)
        {
            Bar bar = options.Bars[i];
            wrong = FindFault(bar, i, i > 0 && ((BarFlags)options.Bars[i - 1].Flags & BarFlags.Is64Bit) != 0 && options.Bars[i - 1].Length != 0);
            if (wrong is null && bar.Length != 0)
            {
                BarFlags flags = (BarFlags)bar.Flags;
                bars.Add(new(i, bar.Length)
                {
                    Is64Bit = (flags & BarFlags.Is64Bit) != 0,
                    IsPrefetchable = (flags & BarFlags.Prefetchable) != 0,
                    IsIo = (flags & BarFlags.Io) != 0,
                    IsMemory = (flags & BarFlags.Memory) != 0,
                });
            }
        }

        if (wrong is null && options.MsixVectors != 0)
        {
            wrong = FindMsixFault(options, LengthOf(bars, options.MsixBar));
        }

        if (wrong is not null)
        {
            return new(Errno.InvalidArgument, wrong);
        }

        DeviceFlags device = options.Flags;
        description = new()
        {
            VendorId = options.VendorId,
            DeviceId = options.DeviceId,
            SubsystemVendorId = options.SubsystemVendorId,
            SubsystemId = options.SubsystemId,
            ClassCode = options.ClassCode,
            Revision = options.Revision,
            PasidBits = options.PasidBits,
            MsiVectors = options.MsiVectors,
            MsiX = options.MsixVectors == 0 ? null : new(options.MsixVectors, options.MsixBar, options.MsixTable, options.MsixPending),
            Bars = bars,
            VendorCapabilities = options.VendorLength == 0 ? [] : [new(new byte[options.VendorLength - VendorHeader])],
            IsExpress = (device & DeviceFlags.Express) != 0,
            HasInterruptPin = (device & DeviceFlags.Pin) != 0,
            HasAts = (device & DeviceFlags.Ats) != 0,
            HasPageRequests = (device & DeviceFlags.PageRequests) != 0,
            CanReset = (device & DeviceFlags.NoReset) == 0,
        };
        return null;
    }

    private static ulong LengthOf(List<PciBar> bars, int register) => bars.Find(bar => bar.Register == register)?.Size ?? 0;

    private static string? FindFault(in DeviceOptions options)
    {
        DeviceFlags flags = options.Flags;
        if ((flags & ~DeviceFlags.All) != 0)
        {
            return $"options.flags are 0x{(uint)flags:x}: 0x{(uint)(flags & ~DeviceFlags.All):x} is not known";
        }

        if (options.Reserved != 0 || options.Reserved2 != 0 || options.Reserved3 != 0)
        {
            return "options.reserved, options.reserved2 and options.reserved3 must be 0";
        }

        if (options.VendorLength != 0 && (options.VendorLength <= VendorHeader || options.VendorLength > LongestVendor))
        {
            return $"options.vendor_length is {options.VendorLength}: 0, and {VendorHeader + 1} to {LongestVendor} are possible";
        }

        if (options.ClassCode > 0xff_ffff)
        {
            return $"options.class_code is 0x{options.ClassCode:x}: it has 24 bits";
        }

        if (options.PasidBits > 20)
        {
            return $"options.pasid_bits is {options.PasidBits}: a PASID has at most 20 bits";
        }

        if (options.MsiVectors > 32 || !BitOperations.IsPow2(options.MsiVectors) && options.MsiVectors != 0)
        {
            return $"options.msi_vectors is {options.MsiVectors}: 0, 1, 2, 4, 8, 16 and 32 are possible";
        }

        bool isExpress = (flags & DeviceFlags.Express) != 0;
        if (!isExpress && (options.PasidBits != 0 || (flags & DeviceFlags.Ats) != 0))
        {
            return "options.pasid_bits and IOASIS_DEVICE_ATS need IOASIS_DEVICE_EXPRESS";
        }

        return (flags & DeviceFlags.PageRequests) != 0 && (flags & DeviceFlags.Ats) == 0
            ? "IOASIS_DEVICE_PRI needs IOASIS_DEVICE_ATS"
            : null;
    }

    private static string? FindFault(in Bar bar, int index, bool isUpperHalf)
    {
        BarFlags flags = (BarFlags)bar.Flags;
        if ((flags & ~BarFlags.All) != 0 || bar.Reserved != 0)
        {
            return $"options.bars[{index}].flags are 0x{bar.Flags:x} and reserved is {bar.Reserved}: flags 0x{(uint)BarFlags.All:x} are known, and reserved must be 0";
        }

        if (bar.Length == 0)
        {
            return null;
        }

        bool isIo = (flags & BarFlags.Io) != 0;
        if (isUpperHalf)
        {
            return $"options.bars[{index}].length is 0x{bar.Length:x}: bars[{index - 1}] has 64 bits and takes this register too";
        }

        if ((flags & BarFlags.Is64Bit) != 0 && (isIo || index == 5))
        {
            return $"options.bars[{index}] has 64 bits: I/O space has 32, and the last register has none after it";
        }

        if (isIo && (flags & BarFlags.Memory) != 0)
        {
            return $"options.bars[{index}] is both IOASIS_BAR_IO and IOASIS_BAR_MEMORY";
        }

        ulong least = isIo ? 4u : 16u;
        ulong most = isIo ? 256u : (flags & BarFlags.Is64Bit) == 0 ? 1ul << 31 : (flags & BarFlags.Memory) != 0 ? 1ul << 30 : 1ul << 38;
        return bar.Length < least || bar.Length > most || !BitOperations.IsPow2(bar.Length)
            ? $"options.bars[{index}].length is 0x{bar.Length:x}: a power of two from 0x{least:x} to 0x{most:x} is possible"
            : null;
    }

    private static string? FindMsixFault(in DeviceOptions options, ulong length)
    {
        if (options.MsixVectors > 2048)
        {
            return $"options.msix_vectors is {options.MsixVectors}: at most 2048 are possible";
        }

        if (length == 0)
        {
            return $"options.msix_bar is {options.MsixBar}, which has no length";
        }

        return ((options.MsixTable | options.MsixPending) & 7) != 0
            || options.MsixTable + (16ul * options.MsixVectors) > length
            || options.MsixPending + (((ulong)options.MsixVectors + 63) / 64 * 8) > length
            ? $"options.msix_table 0x{options.MsixTable:x} and options.msix_pending 0x{options.MsixPending:x} must be multiples of 8, and the tables of {options.MsixVectors} vectors lie within the 0x{length:x} bytes of bars[{options.MsixBar}]"
            : null;
    }
}
