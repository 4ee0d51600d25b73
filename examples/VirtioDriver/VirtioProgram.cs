using System.Buffers.Binary;
using Ioasis.Client;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Examples;

/// <summary>Programs that use virtio devices by /dev/iommu.</summary>
public static class VirtioProgram
{
    private static readonly Iova s_area = new(0x100_0000);

    /// <summary>Writes a disk full of a pattern, flushes it, and reads it again.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="devicePath">Such as <c>/dev/vfio/devices/vfio0</c>.</param>
    /// <param name="cancellationToken">Ends the run.</param>
    /// <returns>Bytes that came back as they were written.</returns>
    public static async Task<long> CheckDiskAsync(IKernelAbi kernel, string devicePath, CancellationToken cancellationToken = default)
    {
        using IommuFd iommu = IommuFd.Open(kernel);
        using VfioDevice device = VfioDevice.Open(kernel, devicePath);
        using IoAddressSpace space = Attach(iommu, device);
        using DmaArea area = MakeArea(space, VirtioDisk.AreaSize);
        using VirtioDisk disk = VirtioDisk.Start(device, area);
        long bytes = (long)disk.Capacity * VirtioDisk.SectorSize;
        byte[] data = new byte[VirtioDisk.TransferLimit];
        for (long at = 0; at < bytes; at += data.Length)
        {
            Memory<byte> part = data.AsMemory(0, (int)Math.Min(data.Length, bytes - at));
            FillPattern(part.Span, at);
            await disk.WriteAsync((ulong)at / VirtioDisk.SectorSize, part, cancellationToken).ConfigureAwait(false);
        }

        await disk.FlushAsync(cancellationToken).ConfigureAwait(false);
        byte[] expected = new byte[data.Length];
        long equal = 0;
        for (long at = 0; at < bytes; at += data.Length)
        {
            Memory<byte> part = data.AsMemory(0, (int)Math.Min(data.Length, bytes - at));
            part.Span.Clear();
            await disk.ReadAsync((ulong)at / VirtioDisk.SectorSize, part, cancellationToken).ConfigureAwait(false);
            FillPattern(expected, at);
            equal += part.Span.CommonPrefixLength(expected);
        }

        return equal;
    }

    /// <summary>Sends frames from one card to another and back, and compares what arrives.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="firstPath">One card.</param>
    /// <param name="secondPath">The card at the other end of its cable.</param>
    /// <param name="frames">How many frames go there and back.</param>
    /// <param name="cancellationToken">Ends the run.</param>
    /// <returns>Frames that came back as they were sent.</returns>
    public static async Task<int> CheckNetworkAsync(
        IKernelAbi kernel, string firstPath, string secondPath, int frames, CancellationToken cancellationToken = default)
    {
        using IommuFd iommu = IommuFd.Open(kernel);
        using VfioDevice one = VfioDevice.Open(kernel, firstPath);
        using VfioDevice two = VfioDevice.Open(kernel, secondPath);
        using IoAddressSpace firstSpace = Attach(iommu, one);
        using IoAddressSpace secondSpace = Attach(iommu, two);
        using DmaArea firstArea = MakeArea(firstSpace, VirtioNetwork.AreaSize);
        using DmaArea secondArea = MakeArea(secondSpace, VirtioNetwork.AreaSize);
        using VirtioNetwork first = VirtioNetwork.Start(one, firstArea);
        using VirtioNetwork second = VirtioNetwork.Start(two, secondArea);
        if (!first.IsLinkUp || !second.IsLinkUp)
        {
            throw new InvalidOperationException("The cards are not joined.");
        }

        int equal = 0;
        for (int i = 0; i < frames; i++)
        {
            byte[] frame = new byte[60 + (i * 97 % (VirtioNetwork.FrameLimit - 60))];
            FillPattern(frame, i);
            second.MacAddress.CopyTo(frame.AsSpan());
            first.MacAddress.CopyTo(frame.AsSpan(6));
            BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x88b5);
            await first.SendAsync(frame, cancellationToken).ConfigureAwait(false);
            byte[] came = await second.ReceiveAsync(cancellationToken).ConfigureAwait(false);
            await second.SendAsync(came, cancellationToken).ConfigureAwait(false);
            byte[] back = await first.ReceiveAsync(cancellationToken).ConfigureAwait(false);
            equal += back.AsSpan().SequenceEqual(frame) ? 1 : 0;
        }

        return equal;
    }

    // An address space for each device: neither reaches the other's memory.
    private static IoAddressSpace Attach(IommuFd iommu, VfioDevice device)
    {
        _ = device.Bind(iommu);
        IoAddressSpace space = iommu.AllocateAddressSpace();
        _ = device.Attach(space);
        return space;
    }

    private static DmaArea MakeArea(IoAddressSpace space, int bytes) => new(
        bytes, s_area, (memory, length, iova) => space.Map(new(memory, length), iova, Access.ReadWrite), (iova, length) => space.Unmap(iova, length));

    private static void FillPattern(Span<byte> bytes, long seed)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            bytes[i] = (byte)(((seed + i) * 0x9e37_79b9) >> 24);
        }
    }
}
