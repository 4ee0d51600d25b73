using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Examples;

/// <summary>What a run of <see cref="EduProgram"/> saw.</summary>
/// <param name="Identification">The device's identification register.</param>
/// <param name="Factorial">Ten factorial, as the device computed it.</param>
/// <param name="BytesEqual">Bytes that went to the device and came back the same.</param>
public sealed record EduReport(uint Identification, uint Factorial, int BytesEqual);

/// <summary>A program that uses an edu device: by /dev/iommu, or by a VFIO container.</summary>
public static class EduProgram
{
    private const int PageSize = 4096;
    private static readonly Iova s_source = new(0x10_0000);
    private static readonly Iova s_destination = new(0x20_0000);

    /// <summary>Opens the device by its own node and attaches it to an address space of /dev/iommu.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="devicePath">Such as <c>/dev/vfio/devices/vfio0</c>.</param>
    /// <param name="wired">Use the wired interrupt although there is MSI.</param>
    /// <param name="cancellationToken">Ends the run.</param>
    public static async Task<EduReport> RunByIommuAsync(
        IKernelAbi kernel, string devicePath, bool wired = false, CancellationToken cancellationToken = default)
    {
        using IommuFd iommu = IommuFd.Open(kernel);
        using VfioDevice device = VfioDevice.Open(kernel, devicePath);
        _ = device.Bind(iommu);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        _ = device.Attach(space);
        return await RunAsync(
            device,
            wired,
            (memory, iova, access) => space.Map(new(memory, PageSize), iova, access),
            iova => space.Unmap(iova, PageSize),
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Opens the device through its group, whose container has an address space.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="group">Number of the group.</param>
    /// <param name="deviceName">Such as <c>0000:00:03.0</c>.</param>
    /// <param name="wired">Use the wired interrupt although there is MSI.</param>
    /// <param name="containerPath">The container's node, or that of <c>/dev/iommu</c> standing for one.</param>
    /// <param name="cancellationToken">Ends the run.</param>
    public static async Task<EduReport> RunByContainerAsync(
        IKernelAbi kernel,
        int group,
        string deviceName,
        bool wired = false,
        string containerPath = VfioContainer.DefaultPath,
        CancellationToken cancellationToken = default)
    {
        using VfioContainer container = VfioContainer.Open(kernel, containerPath);
        using VfioGroup joined = VfioGroup.Open(kernel, group);
        joined.Join(container);
        container.SetIommu();
        using VfioDevice device = joined.OpenDevice(deviceName);
        return await RunAsync(
            device,
            wired,
            (memory, iova, access) => container.Map(new(memory, PageSize), iova, access),
            iova => container.Unmap(iova, PageSize),
            cancellationToken).ConfigureAwait(false);
    }

    private static async Task<EduReport> RunAsync(
        VfioDevice device,
        bool wired,
        Action<ulong, Iova, Access> map,
        Action<Iova> unmap,
        CancellationToken cancellationToken)
    {
        using EduDriver driver = EduDriver.Start(device, wired);
        uint identification = driver.ReadIdentification();
        if (!driver.IsAlive(0x1234_5678))
        {
            throw new InvalidOperationException("The device does not answer.");
        }

        await driver.RaiseInterruptAsync(0x40, cancellationToken).ConfigureAwait(false);
        uint factorial = await driver.ComputeFactorialAsync(10, cancellationToken).ConfigureAwait(false);

        // The device reads one page and writes another: it may do no more than that with each.
        using PageBuffer source = new();
        using PageBuffer destination = new();
        for (int i = 0; i < PageSize; i++)
        {
            source.Span[i] = (byte)((i * 7) + 3);
        }

        map(source.Address, s_source, Access.Read);
        map(destination.Address, s_destination, Access.Write);
        await driver.CopyToDeviceAsync(s_source, 0, PageSize, cancellationToken).ConfigureAwait(false);
        await driver.CopyFromDeviceAsync(s_destination, 0, PageSize, cancellationToken).ConfigureAwait(false);
        unmap(s_source);
        unmap(s_destination);
        int equal = destination.Span.CommonPrefixLength(source.Span);
        return new(identification, factorial, equal);
    }

    private sealed unsafe class PageBuffer : IDisposable
    {
        private void* _memory = NativeMemory.AlignedAlloc(PageSize, PageSize);

        public PageBuffer() => Span.Clear();

        public ulong Address => (ulong)_memory;

        public Span<byte> Span => new(_memory, PageSize);

        public void Dispose()
        {
            NativeMemory.AlignedFree(_memory);
            _memory = null;
        }
    }
}
