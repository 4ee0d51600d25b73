using Ioasis.Hardware;

namespace Ioasis.RiscV.Hardware;

/// <summary>The value of an IOTLB entry: who may do what, decided when it is filled, so that a hit tests one bit.</summary>
internal static class IotlbValue
{
    public const ulong AddressMask = Iotlb.AddressMask;

    // Three bits each (read, write, execute) for a user, a supervisor without SUM, and one with SUM.
    public const int UserShift = 0;
    public const int SupervisorShift = 3;
    public const int SupervisorSumShift = 6;
    public const int ReadOffset = 0;
    public const int WriteOffset = 1;
    public const int ExecuteOffset = 2;
    public const int PbmtShift = 9;
    public const ulong PbmtMask = 3;
    public const ulong MsiBit = 1ul << 11;

    /// <summary>What the shortest path does not look at: memory types and MSIs.</summary>
    public const ulong UnusualMask = (PbmtMask << PbmtShift) | MsiBit;
}
