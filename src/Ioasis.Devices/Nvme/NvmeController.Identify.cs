using System.Buffers.Binary;
using System.Text;

namespace Ioasis.Devices.Nvme;

/// <content>Identify, in all its forms (base specification 2.0, section 5.17; NVM command set 1.0, section 4.1.5).</content>
public sealed partial class NvmeController
{
    private const int IdentifySize = 4096;

    private readonly byte[] _answer = new byte[IdentifySize];

    private NvmeResult ExecuteIdentify(in NvmeCommand command)
    {
        Span<byte> data = _answer;
        data.Clear();
        uint space = command.NamespaceId;
        byte set = (byte)(command.Word11 >> 24);
        NvmeStatus status = (command.Word10 & 0xff) switch
        {
            0x00 => IdentifyNamespace(space, data, isAllocated: false),
            0x01 => IdentifyController(data),
            0x02 => ListNamespaces(space, data),
            0x03 => DescribeNamespace(space, data),
            0x05 or 0x1b => set != 0 ? NvmeStatus.InvalidField
                : space == uint.MaxValue || TryFind(space, out _) ? NvmeStatus.Success
                : NvmeStatus.InvalidNamespace,
            0x06 => set == 0 ? NvmeStatus.Success : NvmeStatus.InvalidField,
            0x07 or 0x1a => set == 0 ? ListNamespaces(space, data) : NvmeStatus.InvalidField,
            0x08 => IdentifyIndependent(space, data),
            0x10 => ListNamespaces(space, data),
            0x11 => IdentifyNamespace(space, data, isAllocated: true),
            0x12 => ListControllers(space, (ushort)(command.Word10 >> 16), data),
            0x13 => ListControllers(null, (ushort)(command.Word10 >> 16), data),
            0x1c => ListCommandSets((ushort)(command.Word10 >> 16), data),
            _ => NvmeStatus.InvalidField,
        };
        return status == NvmeStatus.Success ? Answer(command, data) : NvmeResult.Refuse(status);
    }

    private bool TryFind(uint id, out NvmeNamespace? space)
    {
        space = id - 1 < (uint)_namespaces.Length ? _namespaces[id - 1] : null;
        return space is not null;
    }

    private NvmeStatus IdentifyController(Span<byte> data)
    {
        Put16(data, 0, Description.VendorId);
        Put16(data, 2, Description.SubsystemVendorId);
        PutText(data.Slice(4, 20), _options.Serial);
        PutText(data.Slice(24, 40), _options.Model);
        PutText(data.Slice(64, 8), FirmwareRevision);
        data[72] = 6;
        data[73] = 0x00;
        data[74] = 0x54;
        data[75] = 0x52;
        data[77] = (byte)_options.MaxTransferLog2;
        Put32(data, 80, NvmeRegisters.Version20);
        Put32(data, 84, 1_000_000);
        Put32(data, 88, 1_000_000);

        // Namespace attribute notices.
        Put32(data, 92, 1 << 8);
        data[111] = 1;
        Put16(data, 256, (ushort)((1 << 1) | (_options.ShadowDoorbells ? 1 << 8 : 0)));
        data[258] = 3;
        data[259] = EventRequestLimit - 1;
        data[260] = 3;

        // SMART by namespace, commands and effects, extended data of a log page, the list of log pages.
        data[261] = 0b10_0111;
        data[262] = ErrorEntries - 1;
        Put16(data, 266, 343);
        Put16(data, 268, 373);
        ulong capacity = 0;
        foreach (NvmeNamespace space in _namespaces)
        {
            capacity += space.Capacity;
        }

        BinaryPrimitives.WriteUInt64LittleEndian(data[280..], capacity);
        data[512] = 0x66;
        data[513] = 0x44;
        Put32(data, 516, (uint)_namespaces.Length);

        // Compare, write uncorrectable, dataset management, write zeroes, select of features, timestamp, verify.
        Put16(data, 520, 0b1101_1111);
        data[524] = 0;
        data[525] = 0b111;

        // SGLs without alignment, bit buckets, metadata at any byte, longer than the data, a list for the metadata.
        Put32(data, 536, 1 | (1 << 16) | (1 << 17) | (1 << 18) | (1 << 19));
        PutText(data.Slice(768, 256), $"nqn.2014-08.org.nvmexpress:uuid:{new Guid(_namespaces[0].Uuid, bigEndian: true):D}", '\0');
        Put16(data, 2048, 2500);
        Put32(data, 2052, 16);
        Put32(data, 2056, 4);
        return NvmeStatus.Success;
    }

    private NvmeStatus IdentifyNamespace(uint id, Span<byte> data, bool isAllocated)
    {
        if (id == uint.MaxValue && !isAllocated)
        {
            PutFormats(data, _namespaces[0]);
            return NvmeStatus.Success;
        }

        if (!TryFind(id, out NvmeNamespace? space))
        {
            return NvmeStatus.InvalidNamespace;
        }

        BinaryPrimitives.WriteUInt64LittleEndian(data, space!.Blocks);
        BinaryPrimitives.WriteUInt64LittleEndian(data[8..], space.Blocks);
        BinaryPrimitives.WriteUInt64LittleEndian(data[16..], space.Blocks);
        PutFormats(data, space);
        data[99] = (byte)(space.IsReadOnly ? 1 : 0);
        BinaryPrimitives.WriteUInt64LittleEndian(data[48..], space.Capacity);
        space.Guid.CopyTo(data[104..]);
        space.Eui.CopyTo(data[120..]);
        return NvmeStatus.Success;
    }

    private static void PutFormats(Span<byte> data, NvmeNamespace space)
    {
        // Deallocated blocks read zero, by write zeroes too; optimal performance says nothing more.
        data[24] = 0;
        data[25] = (byte)(NvmeNamespace.Formats.Count - 1);
        data[26] = (byte)(space.Format | (space.IsExtended ? 1 << 4 : 0));
        data[27] = 0b11;
        data[33] = 0b1001;
        for (int i = 0; i < NvmeNamespace.Formats.Count; i++)
        {
            (int block, int metadata) = NvmeNamespace.Formats[i];
            Put16(data, 128 + (4 * i), (ushort)metadata);
            data[128 + (4 * i) + 2] = (byte)System.Numerics.BitOperations.Log2((uint)block);
        }
    }

    private NvmeStatus ListNamespaces(uint after, Span<byte> data)
    {
        if (after >= uint.MaxValue - 1)
        {
            return NvmeStatus.InvalidNamespace;
        }

        int at = 0;
        for (uint id = after + 1; id <= (uint)_namespaces.Length && at < 1024; id++)
        {
            Put32(data, 4 * at++, id);
        }

        return NvmeStatus.Success;
    }

    private NvmeStatus DescribeNamespace(uint id, Span<byte> data)
    {
        if (!TryFind(id, out NvmeNamespace? space))
        {
            return NvmeStatus.InvalidNamespace;
        }

        int at = 0;
        at += PutDescriptor(data[at..], 1, space!.Eui);
        at += PutDescriptor(data[at..], 2, space.Guid);
        at += PutDescriptor(data[at..], 3, space.Uuid);
        _ = PutDescriptor(data[at..], 4, [0]);
        return NvmeStatus.Success;
    }

    private NvmeStatus IdentifyIndependent(uint id, Span<byte> data)
    {
        if (!TryFind(id, out NvmeNamespace? space))
        {
            return NvmeStatus.InvalidNamespace;
        }

        data[13] = (byte)(space!.IsReadOnly ? 1 : 0);

        // NSTAT: ready.
        data[14] = 1;
        return NvmeStatus.Success;
    }

    private NvmeStatus ListControllers(uint? space, ushort from, Span<byte> data)
    {
        if (space is { } id && !TryFind(id, out _))
        {
            return NvmeStatus.InvalidNamespace;
        }

        // One controller, number 0.
        if (from == 0)
        {
            Put16(data, 0, 1);
        }

        return NvmeStatus.Success;
    }

    private static NvmeStatus ListCommandSets(ushort controller, Span<byte> data)
    {
        if (controller is not (0 or 0xffff))
        {
            return NvmeStatus.InvalidField;
        }

        // One combination: the NVM command set alone.
        data[0] = 1;
        return NvmeStatus.Success;
    }

    private static int PutDescriptor(Span<byte> data, byte type, ReadOnlySpan<byte> value)
    {
        data[0] = type;
        data[1] = (byte)value.Length;
        value.CopyTo(data[4..]);
        return 4 + value.Length;
    }

    private static void PutText(Span<byte> place, string text, char fill = ' ')
    {
        place.Fill((byte)fill);
        _ = Encoding.ASCII.GetBytes(text.AsSpan(0, Math.Min(text.Length, place.Length)), place);
    }

    private static void Put16(Span<byte> data, int offset, ushort value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(data[offset..], value);

    private static void Put32(Span<byte> data, int offset, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(data[offset..], value);
}
