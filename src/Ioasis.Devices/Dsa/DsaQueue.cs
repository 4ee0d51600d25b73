using Ioasis.Primitives;

namespace Ioasis.Devices.Dsa;

/// <summary>A work queue as its configuration was when it was enabled (WQCFG, DSA specification 1.x, section 9.2.19).</summary>
internal sealed class DsaQueue(int index)
{
    /// <summary>Its number.</summary>
    public int Index => index;

    public DsaQueueState State { get; set; }

    public int Size { get; set; }

    /// <summary>Entries that the limited portals of a shared queue may fill.</summary>
    public int Threshold { get; set; }

    public bool IsDedicated { get; set; }

    public bool BlockOnFault { get; set; }

    public bool UsesAts { get; set; }

    public bool UsesPageRequests { get; set; }

    public bool HasPasid { get; set; }

    /// <summary>Of a dedicated queue; each descriptor of a shared one has its own.</summary>
    public Pasid Pasid { get; set; }

    public ulong MaxTransfer { get; set; }

    public uint MaxBatch { get; set; }

    /// <summary>Operations that it takes, one bit each.</summary>
    public ulong Operations { get; set; }

    /// <summary>Descriptors that it has taken and that have not ended.</summary>
    public int Count { get; set; }
}

/// <summary>WQCFG bits 223:222.</summary>
internal enum DsaQueueState
{
    Disabled,
    Enabled,

    /// <summary>It takes nothing more and ends what it has.</summary>
    Busy,
}
