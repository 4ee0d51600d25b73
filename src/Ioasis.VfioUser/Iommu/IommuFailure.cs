using Ioasis.Devices;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;

namespace Ioasis.VfioUser;

/// <summary>What of an IOMMU fails.</summary>
public enum IommuFailureKind
{
    /// <summary>A command is illegal (<c>cqcsr.cmd_ill</c>).</summary>
    CommandIllegal,

    /// <summary>A command times out (<c>cqcsr.cmd_to</c>).</summary>
    CommandTimeout,

    /// <summary>A command cannot be fetched (<c>cqcsr.cqmf</c>).</summary>
    CommandMemoryFault,

    /// <summary>A command is not executed, without an error, until software sends another one.</summary>
    CommandStall,

    /// <summary>A fault record is lost, as if the queue were full (<c>fqcsr.fqof</c>).</summary>
    FaultQueueOverflow,

    /// <summary>A fault record cannot be stored, and is lost (<c>fqcsr.fqmf</c>).</summary>
    FaultQueueMemoryFault,
}

/// <summary>
/// A failure of an IOMMU on request, for those who test drivers. But for <see cref="IommuFailureKind.CommandStall"/> it stops the queue, as section 5.15 or 5.16
/// says, until software clears its bit.
/// </summary>
/// <param name="Kind">What fails.</param>
/// <param name="At">With which command that is executed, or fault that is recorded, since the last reset; from 1.</param>
/// <param name="Times">How often it fails, one time after the other, before it passes; <see cref="Always"/> for ever.</param>
public sealed record IommuFailure(IommuFailureKind Kind, long At, long Times = 1)
{
    /// <summary>It never passes.</summary>
    public const long Always = long.MaxValue;

    private static readonly (string Word, IommuFailureKind Kind, uint Bit)[] s_kinds =
    [
        ("cmd-ill", IommuFailureKind.CommandIllegal, QueueCsr.CommandIllegalBit),
        ("cmd-to", IommuFailureKind.CommandTimeout, QueueCsr.CommandTimeoutBit),
        ("cmd-mf", IommuFailureKind.CommandMemoryFault, QueueCsr.MemoryFaultBit),
        ("cmd-stall", IommuFailureKind.CommandStall, IRiscVIommuTap.Stall),
        ("fault-queue-overflow", IommuFailureKind.FaultQueueOverflow, QueueCsr.OverflowBit),
        ("fault-queue-mf", IommuFailureKind.FaultQueueMemoryFault, QueueCsr.MemoryFaultBit),
    ];

    /// <summary>How a text asks for it.</summary>
    internal static DeviceKey Key { get; } = new(
        "inject", $"WHAT@N[:TIMES], what fails with command or fault N: {string.Join(", ", s_kinds.Select(static kind => kind.Word))}; TIMES is 1 as is, or always", IsRepeatable: true);

    /// <summary>Whether it is about commands, and not about faults.</summary>
    internal bool IsCommand => Kind <= IommuFailureKind.CommandStall;

    /// <summary>The bit of the queue's status that it sets.</summary>
    internal uint Bit => s_kinds[(int)Kind].Bit;

    /// <summary>Its word.</summary>
    internal string Word => s_kinds[(int)Kind].Word;

    /// <summary>Reads <c>WHAT@N[:TIMES]</c>.</summary>
    /// <exception cref="DeviceSettingException">It is something else.</exception>
    internal static IommuFailure Parse(string text)
    {
        int at = text.IndexOf('@', StringComparison.Ordinal);
        int kind = Array.FindIndex(s_kinds, candidate => at >= 0 && string.Equals(candidate.Word, text[..at], StringComparison.Ordinal));
        if (kind < 0)
        {
            throw DeviceSettings.Bad(Key.Name, text, $"WHAT@N[:TIMES] is expected, WHAT one of {string.Join(", ", s_kinds.Select(static candidate => candidate.Word))}");
        }

        string[] numbers = text[(at + 1)..].Split(':', 2);
        long times = numbers.Length == 1 ? 1
            : string.Equals(numbers[1], "always", StringComparison.Ordinal) ? Always
            : DeviceSettings.ParseNumber(Key.Name, numbers[1], 1, Always);
        return new(s_kinds[kind].Kind, DeviceSettings.ParseNumber(Key.Name, numbers[0], 1, long.MaxValue), times);
    }
}
