using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Uapi;

namespace Ioasis.Embedded.Sanitizing;

/// <summary>What a call has an IOMMU forget.</summary>
internal static class GuestInvalidation
{
    // More entries than that are taken for everything.
    private const int MostEntries = 4096;

    /// <summary>Reads memory of the program.</summary>
    /// <returns>Whether it is there.</returns>
    public delegate bool Reader(ulong address, Span<byte> destination);

    /// <summary>Tells which accesses a call covers: those that an entry of <c>IOMMU_HWPT_INVALIDATE</c> names, and all for a call that changes what a device is attached to.</summary>
    /// <param name="platform">The machine.</param>
    /// <param name="request">The call.</param>
    /// <param name="argument">What the call left of its argument: the entries that were carried out.</param>
    /// <param name="read">Reads the entries.</param>
    public static Func<DmaReport, bool> Of(EmbeddedPlatform platform, uint request, ReadOnlySpan<byte> argument, Reader read)
    {
        if (request != IommufdRequests.HwptInvalidate || argument.Length < Marshal.SizeOf<IommuHwptInvalidate>())
        {
            return static _ => true;
        }

        var call = MemoryMarshal.Read<IommuHwptInvalidate>(argument);
        if (call.EntryCount == 0)
        {
            return static _ => false;
        }

        byte[] entries = new byte[Math.Min(call.EntryCount, MostEntries) * Math.Min(call.EntryLength, 256)];
        if (call.EntryCount > MostEntries || call.EntryLength > 256 || !read(call.DataAddress, entries))
        {
            return static _ => true;
        }

        int length = (int)call.EntryLength;
        return report =>
        {
            IommuDevice? device = platform.Subsystem.Devices.FirstOrDefault(device => device.Id == report.Device);
            EmbeddedIommu? iommu = platform.Iommus.FirstOrDefault(iommu => ReferenceEquals(iommu.Driver, device?.Iommu));
            for (int i = 0; i < entries.Length; i += length)
            {
                if (iommu is null || iommu.Invalidates(call.DataType, entries.AsSpan(i, length), report.Iova))
                {
                    return true;
                }
            }

            return false;
        };
    }
}
