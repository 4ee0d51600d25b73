using BenchmarkDotNet.Attributes;
using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Benchmarks;

/// <summary>
/// A VFIO container and a device behind it: one page in and out with 4,096 mappings live, a register, and an interrupt from the
/// device to whoever awaits it.
/// </summary>
[MemoryDiagnoser]
public class VfioBenchmarks
{
    private const int Pages = 4096;
    private const ulong Base = 1ul << 30;

    private EmbeddedPlatform _platform = null!;
    private EduDevice _edu = null!;
    private VfioContainer _container = null!;
    private VfioGroup _group = null!;
    private VfioDevice _device = null!;
    private VfioRegion _registers = null!;
    private VfioInterruptSet _interrupts = null!;

    [GlobalSetup]
    public void Setup()
    {
        _platform = new(new() { UserMemory = new IdentityUserMemory() });
        _edu = new();
        EmbeddedEndpoint endpoint = _platform.AddDevice(_edu, DeviceId.FromPci(0, 0, 1, 0));
        _container = VfioContainer.Open(_platform.Kernel);
        _group = VfioGroup.Open(_platform.Kernel, endpoint.Device.Group.Id);
        _group.Join(_container);
        _container.SetIommu();
        _device = _group.OpenDevice(endpoint.Device.Name);
        _device.GetRegion(VfioPciRegion.Config).Write(4, (ushort)6);
        _registers = _device.GetRegion(VfioPciRegion.Bar0);
        _interrupts = _device.EnableInterrupts(VfioPciInterrupt.Msi);
        for (ulong i = 0; i < Pages; i++)
        {
            _container.Map(new(Base + (i << 13), 4096), new(Base + (i << 13)), Access.ReadWrite);
        }
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _interrupts.Dispose();
        _device.Dispose();
        _group.Dispose();
        _container.Dispose();
        _platform.Dispose();
        _edu.Dispose();
    }

    [Benchmark(OperationsPerInvoke = Pages)]
    public void Map_and_unmap_4KiB()
    {
        for (ulong i = 0; i < Pages; i++)
        {
            Iova iova = new(Base + (i << 13) + 4096);
            _ = _container.MapErrno(new(iova.Value, 4096), iova, Access.ReadWrite);
            _ = _container.UnmapErrno(iova, 4096, out _);
        }
    }

    [Benchmark]
    public uint Read_a_register()
    {
        _ = _registers.ReadErrno(0, out uint value);
        return value;
    }

    [Benchmark]
    public VfioContainerInfo Get_the_information() => _container.GetInfo();

    /// <summary>The device raises MSI, a thread waits for its counter, and the awaiting task goes on.</summary>
    [Benchmark]
    public async Task<ulong> Raise_and_await_an_interrupt()
    {
        _registers.Write(0x60, 1u);
        ulong count = await _interrupts[0].WaitAsync().ConfigureAwait(false);
        _registers.Write(0x64, 1u);
        return count;
    }
}
