using System.Buffers.Binary;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Dsa;

/// <summary>A work queue as a program wants it.</summary>
public sealed record DsaQueueSetup
{
    /// <summary>Its number.</summary>
    public int Queue { get; init; }

    /// <summary>Its entries.</summary>
    public int Entries { get; init; } = 16;

    /// <summary>Whether it takes ENQCMD, with the PASID of whoever gives it; else MOVDIR64B.</summary>
    public bool IsShared { get; init; }

    /// <summary>Of a shared queue: entries that the limited portals may fill.</summary>
    public int Threshold { get; init; } = 16;

    /// <summary>Whether descriptors may wait for pages.</summary>
    public bool BlockOnFault { get; init; }

    /// <summary>Of a dedicated queue: its PASID; without one its requests carry none.</summary>
    public Pasid Pasid { get; init; }
}

/// <summary>
/// What a driver does before the first descriptor: for programs that have the accelerator in their process and no driver of their own for it. It goes
/// through the registers as a driver does (DSA specification 1.x, section 4.1).
/// </summary>
public static class DsaSetup
{
    /// <summary>Resets an accelerator and enables it with all its queues in one group.</summary>
    /// <param name="device">The accelerator, which is in a machine.</param>
    /// <param name="queues">The queues.</param>
    /// <exception cref="InvalidOperationException">It refused: the message has CMDSTS.</exception>
    public static void Enable(DsaDevice device, params IReadOnlyList<DsaQueueSetup> queues)
    {
        const ushort MemoryAndMaster = 6;
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(queues);
        Write(device, VfioPciRegion.Config, 4, MemoryAndMaster, sizeof(ushort));
        Execute(device, DsaCommand.ResetDevice, 0);
        uint mask = 0;
        foreach (DsaQueueSetup queue in queues)
        {
            const uint Priority = 1 << 4;
            uint at = DsaRegisters.Queues + ((uint)queue.Queue * DsaRegisters.QueueSize);
            bool hasPasid = queue.IsShared || queue.Pasid.IsPresent;
            Write(device, VfioPciRegion.Bar0, at, (uint)queue.Entries, sizeof(uint));
            Write(device, VfioPciRegion.Bar0, at + 4, (uint)queue.Threshold, sizeof(uint));
            Write(
                device,
                VfioPciRegion.Bar0,
                at + 8,
                (queue.IsShared ? 0 : 1u) | (queue.BlockOnFault ? 2u : 0) | Priority | (queue.Pasid.Value << 8) | (hasPasid ? 1u << 28 : 0),
                sizeof(uint));
            mask |= 1u << queue.Queue;
        }

        Write(device, VfioPciRegion.Bar0, DsaRegisters.Groups, mask, sizeof(ulong));
        Write(device, VfioPciRegion.Bar0, DsaRegisters.Groups + DsaRegisters.GroupEngines, 1, sizeof(ulong));
        Execute(device, DsaCommand.EnableDevice, 0);
        foreach (DsaQueueSetup queue in queues)
        {
            Execute(device, DsaCommand.EnableQueue, (uint)queue.Queue);
        }
    }

    private static void Execute(DsaDevice device, DsaCommand command, uint operand)
    {
        Write(device, VfioPciRegion.Bar0, DsaRegisters.Command, ((uint)command << 20) | operand, sizeof(uint));
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        do
        {
            _ = device.Backend.Read((int)VfioPciRegion.Bar0, DsaRegisters.CommandStatus, bytes, out _);
        }
        while ((BinaryPrimitives.ReadUInt32LittleEndian(bytes) & DsaRegisters.CommandActive) != 0);

        if (bytes[0] != 0)
        {
            throw new InvalidOperationException($"The accelerator refused {command} {operand}: CMDSTS 0x{bytes[0]:x}.");
        }
    }

    private static void Write(DsaDevice device, VfioPciRegion region, ulong offset, ulong value, int size)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        _ = device.Backend.Write((int)region, offset, bytes[..size], out _);
    }
}
