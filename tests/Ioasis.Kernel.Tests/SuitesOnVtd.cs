using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Intel.Driver;
using Ioasis.Intel.Hardware;
using Ioasis.Kernel.Tests.Ioasids;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Guests' tables, dirty pages and page requests, on VT-d in scalable mode.</summary>
public sealed class HardwareEndToEndOnVtdTests : HardwareEndToEndTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();

    [Fact]
    public void There_is_no_virtual_IOMMU_as_on_Linux()
    {
        using Machine machine = NewMachine(CachingMode.None);
        using HardwarePageTable parent = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, HwptAllocFlags.NestParent);
        machine.Iommu.AllocateVirtualIommuErrno(machine.Device, parent, VtdUapi.HwptDataType, out _).ShouldBe(Errno.NotSupported);
    }

    private protected override bool DescribesTheHardware(ReadOnlySpan<byte> data) =>
        MemoryMarshal.Read<IommuHwInfoVtd>(data).Capabilities == VtdIommuOptions.AllCapabilities.Value;
}

/// <summary>The sequences of docs/how-to-ioasid.md, on VT-d in scalable mode.</summary>
public sealed class HowToIoasidOnVtdTests : HowToIoasidTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>DMA for drivers and machines by their topology, on VT-d in scalable mode.</summary>
public sealed class EmbeddedDmaOnVtdTests : EmbeddedDmaTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>DMA for drivers and machines by their topology, on VT-d in legacy mode.</summary>
public sealed class EmbeddedDmaOnLegacyVtdTests : EmbeddedDmaTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot { Driver = new() { Mode = VtdMode.Legacy } };
}

/// <summary>From the client down to the hardware model, on VT-d in scalable mode.</summary>
public sealed class EndToEndOnVtdTests : EndToEndSuite
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>From the client down to the hardware model, on VT-d in legacy mode.</summary>
public sealed class EndToEndOnLegacyVtdTests : EndToEndSuite
{
    private protected override IommuSlot Slot => new VtdIommuSlot { Driver = new() { Mode = VtdMode.Legacy } };
}
