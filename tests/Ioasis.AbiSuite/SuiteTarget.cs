using Ioasis.Uapi;

namespace Ioasis.AbiSuite;

/// <summary>A kernel, and where the devices are that a suite may use. A platform of the tests, or a machine.</summary>
public sealed record SuiteTarget(IKernelAbi Kernel)
{
    /// <summary>Node of the first device's group.</summary>
    public string? GroupPath { get; init; }

    /// <summary>Name of the first device in its group, such as <c>0000:00:04.0</c>.</summary>
    public string? DeviceName { get; init; }

    /// <summary>Node of the first device.</summary>
    public string? DevicePath { get; init; }

    /// <summary>Node of the second device's group.</summary>
    public string? SecondGroupPath { get; init; }

    /// <summary>Name of the second device.</summary>
    public string? SecondDeviceName { get; init; }

    /// <summary>Node of the second device.</summary>
    public string? SecondDevicePath { get; init; }

    /// <summary>What there is.</summary>
    public CaseNeeds Offers { get; init; }
}
