using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>How a deferrable write ended.</summary>
public enum DeferrableWriteResult
{
    /// <summary>The device has the command (ENQCMD: ZF clear).</summary>
    Accepted,

    /// <summary>The queue is full (ENQCMD: ZF set).</summary>
    Retry,

    /// <summary>A fault in the thread (a general protection fault): it has no PASID, or the operand is bad. Nothing was sent.</summary>
    Fault,

    /// <summary>The guest's PASID is not in its machine's table: an exit to the monitor. Nothing was sent (S1.13).</summary>
    VmExit,
}

/// <summary>
/// The instructions by which threads give commands to shared work queues (PCIe: deferrable memory writes; ENQCMD and ENQCMDS of
/// the processor): the PASID in the command is the thread's, whatever the thread wrote there.
/// </summary>
public static class DeferrableWrite
{
    /// <summary>Bytes of a command.</summary>
    public const int CommandSize = ISharedWorkQueue.CommandSize;

    private const uint PrivilegedBit = 1u << 31;
    private const uint ReservedBits = 0x7ff0_0000;

    /// <summary>As the processor executes it: without a valid PASID register it is a fault of the thread, which its system may answer by loading the register.</summary>
    internal static DeferrableWriteResult Execute(PasidRegister register, ISharedWorkQueue queue, ReadOnlySpan<byte> source)
    {
        ArgumentNullException.ThrowIfNull(queue);
        return !register.IsValid || source.Length != CommandSize
            ? DeferrableWriteResult.Fault
            : Send(queue, source, register.Pasid.Value);
    }

    /// <summary>For the supervisor (ENQCMDS): PASID and privilege are the operand's.</summary>
    public static DeferrableWriteResult ExecuteSupervisor(ISharedWorkQueue queue, ReadOnlySpan<byte> source)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (source.Length != CommandSize)
        {
            return DeferrableWriteResult.Fault;
        }

        uint first = BinaryPrimitives.ReadUInt32LittleEndian(source);
        return (first & ReservedBits) != 0
            ? DeferrableWriteResult.Fault
            : Send(queue, source, first & (PrivilegedBit | Pasid.MaxValue));
    }

    /// <summary>
    /// ENQCMD in a virtual machine: the guest's PASID is translated by the machine's table. While the command is on its way,
    /// the translation stays in force.
    /// </summary>
    public static DeferrableWriteResult ExecuteInGuest(
        VmPasidTable table, GuestPasid pasid, ISharedWorkQueue queue, ReadOnlySpan<byte> source)
    {
        ArgumentNullException.ThrowIfNull(table);
        ArgumentNullException.ThrowIfNull(queue);
        if (source.Length != CommandSize)
        {
            return DeferrableWriteResult.Fault;
        }

        using (table.Enter())
        {
            if (table.TryTranslate(pasid, out Pasid host))
            {
                return Send(queue, source, host.Value);
            }
        }

        // The monitor may change the table: not inside the scope.
        return table.TryTranslateOrExit(pasid, out _) ? DeferrableWriteResult.Retry : DeferrableWriteResult.VmExit;
    }

    private static DeferrableWriteResult Send(ISharedWorkQueue queue, ReadOnlySpan<byte> source, uint first)
    {
        Span<byte> command = stackalloc byte[CommandSize];
        source.CopyTo(command);
        BinaryPrimitives.WriteUInt32LittleEndian(command, first);
        return queue.TryEnqueue(command) ? DeferrableWriteResult.Accepted : DeferrableWriteResult.Retry;
    }
}
