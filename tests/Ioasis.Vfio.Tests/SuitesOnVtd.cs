using Ioasis.Embedded;
using Ioasis.Intel.Driver;

namespace Ioasis.Vfio.Tests;

/// <summary>The educational device and its driver, on VT-d in scalable mode.</summary>
public sealed class EduOnVtdTests : EduTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>The educational device and its driver, on VT-d in legacy mode.</summary>
public sealed class EduOnLegacyVtdTests : EduTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot { Driver = new() { Mode = VtdMode.Legacy } };
}

/// <summary>One device reaches the memory of another, on VT-d in scalable mode.</summary>
public sealed class PeerToPeerOnVtdTests : PeerToPeerTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}
