using System.Buffers.Binary;
using System.Numerics;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>A device as a guest's commands may name it.</summary>
/// <param name="Iommu">The IOMMU in front of it.</param>
/// <param name="DeviceId">Its requester ID there.</param>
/// <param name="VirtualId">The guest's name for it; null if every command means it.</param>
internal readonly record struct GuestDevice(RiscVIommuInstance Iommu, uint DeviceId, uint? VirtualId);

/// <summary>
/// What a guest has its IOMMU forget: commands as it wrote them, carried out with the host's GSCID and device IDs. Whether devices
/// cache is the host's business, so that what the guest invalidates goes from the devices' caches too, asked for or not.
/// </summary>
internal static class GuestCommands
{
    private const int Batch = 16;

    /// <summary>Carries out an array of commands; see <see cref="Core.NestedDomain.Invalidate"/>.</summary>
    /// <param name="bonds">The bonds of the guest's second stage.</param>
    /// <param name="devices">The devices that the commands can mean.</param>
    /// <param name="dataType">Which layout the entries have.</param>
    /// <param name="entries">The entries.</param>
    /// <param name="entryLength">Bytes of one.</param>
    /// <param name="count">How many there are; afterwards how many were carried out.</param>
    public static Errno Invalidate(
        BondSet bonds,
        ReadOnlySpan<GuestDevice> devices,
        uint dataType,
        ReadOnlySpan<byte> entries,
        int entryLength,
        ref uint count)
    {
        uint wanted = count;
        count = 0;
        if (dataType != NestedTranslation.Type)
        {
            return Errno.NotSupported;
        }

        if (entryLength < NestedTranslation.InvalidationSize || (ulong)entries.Length < (ulong)entryLength * wanted)
        {
            return Errno.InvalidArgument;
        }

        Span<Command> batch = stackalloc Command[Batch];
        int filled = 0;
        for (uint i = 0; i < wanted; i++)
        {
            ReadOnlySpan<byte> entry = entries.Slice((int)i * entryLength, entryLength);
            Command command = new(
                BinaryPrimitives.ReadUInt64LittleEndian(entry), BinaryPrimitives.ReadUInt64LittleEndian(entry[8..]));
            if (!IsAllowed(command) || entry[NestedTranslation.InvalidationSize..].ContainsAnyExcept((byte)0))
            {
                Errno before = CarryOut(bonds, devices, batch[..filled]);
                count += before == Errno.Success ? (uint)filled : 0;
                return before == Errno.Success ? Errno.InvalidArgument : before;
            }

            batch[filled++] = command;
            if (filled == Batch || i == wanted - 1)
            {
                Errno error = CarryOut(bonds, devices, batch[..filled]);
                if (error != Errno.Success)
                {
                    return error;
                }

                count += (uint)filled;
                filled = 0;
            }
        }

        return Errno.Success;
    }

    private static bool IsAllowed(in Command command) => (command.Opcode, command.Function) switch
    {
        (CommandOpcode.Iotinval, CommandFunction.IotinvalVma) =>
            (command.Low & (CommandBits.IotinvalReservedMask | CommandBits.GscidValidBit)) == 0
            && (command.High & CommandBits.HighIotinvalReservedMask) == 0,
        (CommandOpcode.Iodir, CommandFunction.IodirInvalDdt) =>
            (command.Low & (CommandBits.IodirReservedMask | (CommandBits.Mask20 << CommandBits.PidShift))) == 0 && command.High == 0,
        (CommandOpcode.Iodir, CommandFunction.IodirInvalPdt) =>
            (command.Low & CommandBits.IodirReservedMask) == 0 && command.High == 0,
        (CommandOpcode.Ats, CommandFunction.AtsInval) => (command.Low & CommandBits.AtsReservedMask) == 0,
        _ => false,
    };

    private static Errno CarryOut(BondSet bonds, ReadOnlySpan<GuestDevice> devices, ReadOnlySpan<Command> commands)
    {
        AddressRange? forgotten = null;
        foreach (Command command in commands)
        {
            if (RangeOf(command) is { } range)
            {
                forgotten = forgotten is { } other
                    ? new(Math.Min(other.Start, range.Start), Math.Max(other.Last, range.Last))
                    : range;
            }
        }

        return commands.IsEmpty
            ? Errno.Success
            : bonds.Invalidate(BuildFor, new Request(devices, commands), forgotten);
    }

    private readonly ref struct Request(ReadOnlySpan<GuestDevice> devices, ReadOnlySpan<Command> commands)
    {
        public ReadOnlySpan<GuestDevice> Devices { get; } = devices;

        public ReadOnlySpan<Command> Commands { get; } = commands;
    }

    private static int BuildFor(Bond bond, Request request, Span<Command> commands)
    {
        RiscVIommuInstance iommu = bond.Iommu;
        int limit = Math.Min(commands.Length, Math.Max(iommu.CommandLimit, 2));
        int used = 0;
        foreach (Command command in request.Commands)
        {
            bool fits = true;
            if (command.Opcode == CommandOpcode.Iotinval)
            {
                fits = used < limit;
                if (fits)
                {
                    commands[used++] = ForHost(command, bond);
                }
            }
            else if (command.Opcode == CommandOpcode.Iodir)
            {
                fits = AddDirectory(command, iommu, request.Devices, commands[..limit], ref used);
            }

            if (!fits)
            {
                // More than it is worth: everything of the guest, and every context.
                commands[0] = Command.InvalidateDeviceDirectory(null);
                commands[1] = Command.InvalidateFirstStage(bond.Tag.Identifier, null, null);
                return 2;
            }
        }

        return used;
    }

    // The guest's address space under the host's GSCID; what the hardware cannot do by address, or does not do as it should for
    // leaves whose size the host does not know, it does for the whole process.
    private static Command ForHost(in Command command, Bond bond)
    {
        Capabilities capabilities = bond.Iommu.Hardware;
        ulong low = command.Low;
        ulong high = command.High;
        if (((low & CommandBits.NonLeafBit) != 0 && !capabilities.NonLeafInvalidation)
            || ((high & CommandBits.HighRangeBit) != 0 && !capabilities.RangeInvalidation)
            || (bond.Iommu.Options.Quirks & RiscVQuirks.SuperpagesInPieces) != 0)
        {
            low &= ~(CommandBits.AddressValidBit | CommandBits.NonLeafBit);
            high = 0;
        }

        low &= ~(CommandBits.Mask16 << CommandBits.GscidShift);
        low |= CommandBits.GscidValidBit | ((ulong)bond.Tag.Identifier << CommandBits.GscidShift);
        return new(low, high);
    }

    private static bool AddDirectory(
        in Command command, RiscVIommuInstance iommu, ReadOnlySpan<GuestDevice> devices, Span<Command> commands, ref int used)
    {
        bool isProcess = command.Function == CommandFunction.IodirInvalPdt;
        uint process = (uint)((command.Low >> CommandBits.PidShift) & CommandBits.Mask20);
        if (isProcess && process >> iommu.Capabilities.PasidBits != 0)
        {
            // No such process can have been cached, and the command would be illegal.
            return true;
        }

        bool isNamed = (command.Low & CommandBits.DeviceValidBit) != 0;
        uint name = (uint)(command.Low >> CommandBits.DeviceShift);
        foreach (GuestDevice device in devices)
        {
            // A name that the guest has given to nothing of the host's may be that of a device which its monitor makes up.
            if (device.Iommu != iommu || (isNamed && device.VirtualId is { } virtualId && virtualId != name))
            {
                continue;
            }

            if (used == commands.Length)
            {
                return false;
            }

            commands[used++] = isProcess
                ? Command.InvalidateProcessDirectory(device.DeviceId, process)
                : Command.InvalidateDeviceDirectory(device.DeviceId);
        }

        return true;
    }

    // What devices that cache have to forget for a command: nothing, a naturally aligned range, or everything.
    private static AddressRange? RangeOf(in Command command)
    {
        bool isRange;
        ulong page;
        switch (command.Opcode)
        {
            case CommandOpcode.Iodir:
                return AddressRange.All;
            case CommandOpcode.Ats:
                isRange = (command.High & AtsInvalidatePayload.RangeBit) != 0;
                page = command.High >> 12;
                break;
            default:
                if ((command.Low & CommandBits.AddressValidBit) == 0 || (command.Low & CommandBits.NonLeafBit) != 0)
                {
                    return AddressRange.All;
                }

                isRange = (command.High & CommandBits.HighRangeBit) != 0;
                page = (command.High >> CommandBits.HighAddressShift) & ((1ul << 52) - 1);
                break;
        }

        // A 0 at bit X of the page number, ones below, for 2^(X+1) pages (section 8.3; PCIe ATS, "S").
        int pagesLog2 = isRange ? BitOperations.TrailingZeroCount(~page) + 1 : 0;
        if (pagesLog2 >= 52)
        {
            return AddressRange.All;
        }

        ulong first = page & ~((1ul << pagesLog2) - 1);
        return new(first << 12, ((first + (1ul << pagesLog2)) << 12) - 1);
    }
}
