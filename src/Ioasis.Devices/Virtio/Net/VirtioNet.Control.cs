using System.Buffers.Binary;

namespace Ioasis.Devices.Virtio;

/// <content>The control queue (section 5.1.6.5), and the filters that it sets. Under the lock of the work.</content>
public sealed partial class VirtioNet
{
    private const int ControlLimit = 64 << 10;
    private const int AddressSize = 6;
    private const int CommandsAtATime = 16;
    private const ushort VlanTag = 0x8100;

    private readonly HashSet<ulong> _unicast = [];
    private readonly HashSet<ulong> _multicast = [];
    private readonly HashSet<ushort> _vlans = [];
    private readonly bool[] _modes = new bool[6];
    private ulong _filterAddress;

    private enum Class : byte
    {
        Receive = 0,
        Mac = 1,
        Vlan = 2,
        MultiQueue = 4,
    }

    private enum Mode
    {
        Promiscuous = 0,
        AllMulticast = 1,
        AllUnicast = 2,
        NoMulticast = 3,
        NoUnicast = 4,
        NoBroadcast = 5,
    }

    private bool ServeControl(VirtioQueue queue)
    {
        for (int i = 0; i < CommandsAtATime; i++)
        {
            if (!TryTake(queue, _chain))
            {
                return false;
            }

            if (_chain.ReadableBytes < 2 || _chain.WritableBytes < 1)
            {
                NeedReset($"a command with {_chain.ReadableBytes} bytes to read and {_chain.WritableBytes} to write: 2 and 1 are the least");
                return false;
            }

            byte answer = IsObeyed(_chain) ? (byte)0 : (byte)1;
            if (!_chain.Write(0, [answer]))
            {
                NeedReset("the answer to a command cannot be written");
                return false;
            }

            if (!Complete(queue, _chain, 1))
            {
                return false;
            }
        }

        return true;
    }

    private bool IsObeyed(VirtioChain chain)
    {
        if (chain.ReadableBytes > ControlLimit)
        {
            return false;
        }

        byte[] bytes = new byte[chain.ReadableBytes];
        if (!chain.Read(0, bytes))
        {
            return false;
        }

        ReadOnlySpan<byte> data = bytes.AsSpan(2);
        byte command = bytes[1];
        return (Class)bytes[0] switch
        {
            Class.Receive => IsModeSet(command, data),
            Class.Mac when command == 0 => Has(Feature.ControlReceive) && AreTablesSet(data),
            Class.Mac when command == 1 => Has(Feature.ControlMacAddress) && IsAddressSet(data),
            Class.Vlan => Has(Feature.ControlVlan) && IsVlanSet(command, data),
            Class.MultiQueue when command == 0 => Has(Feature.MultiQueue) && IsPairCountSet(data),
            _ => false,
        };
    }

    private bool IsModeSet(byte command, ReadOnlySpan<byte> data)
    {
        Feature needed = command <= (byte)Mode.AllMulticast ? Feature.ControlReceive : Feature.ControlReceiveExtra;
        if (command >= _modes.Length || data.Length != 1 || !Has(needed))
        {
            return false;
        }

        _modes[command] = data[0] != 0;
        return true;
    }

    // Two tables, of unicast and of multicast addresses: both are checked before either is taken.
    private bool AreTablesSet(ReadOnlySpan<byte> data)
    {
        if (!TryReadTable(ref data, out ReadOnlySpan<byte> unicast) || !TryReadTable(ref data, out ReadOnlySpan<byte> multicast) || !data.IsEmpty)
        {
            return false;
        }

        Fill(_unicast, unicast);
        Fill(_multicast, multicast);
        return true;
    }

    private static bool TryReadTable(ref ReadOnlySpan<byte> data, out ReadOnlySpan<byte> table)
    {
        table = default;
        if (data.Length < 4)
        {
            return false;
        }

        uint entries = BinaryPrimitives.ReadUInt32LittleEndian(data);
        if (entries > (data.Length - 4) / AddressSize)
        {
            return false;
        }

        table = data.Slice(4, (int)entries * AddressSize);
        data = data[(4 + table.Length)..];
        return true;
    }

    private static void Fill(HashSet<ulong> addresses, ReadOnlySpan<byte> table)
    {
        addresses.Clear();
        for (; !table.IsEmpty; table = table[AddressSize..])
        {
            _ = addresses.Add(ReadAddress(table));
        }
    }

    private bool IsAddressSet(ReadOnlySpan<byte> data)
    {
        if (data.Length != AddressSize)
        {
            return false;
        }

        _filterAddress = ReadAddress(data);
        using (Registers.Acquire())
        {
            WriteAddress(Configuration, _filterAddress);
        }

        return true;
    }

    private bool IsVlanSet(byte command, ReadOnlySpan<byte> data)
    {
        if (data.Length != 2 || command > 1)
        {
            return false;
        }

        ushort id = BinaryPrimitives.ReadUInt16LittleEndian(data);
        if (id > 4095)
        {
            return false;
        }

        _ = command == 0 ? _vlans.Add(id) : _vlans.Remove(id);
        return true;
    }

    private bool IsPairCountSet(ReadOnlySpan<byte> data)
    {
        if (data.Length != 2 || BinaryPrimitives.ReadUInt16LittleEndian(data) is var pairs && (pairs == 0 || pairs > _options.QueuePairs))
        {
            return false;
        }

        Volatile.Write(ref _activePairs, pairs);
        return true;
    }

    // Without the feature of a filter nothing is filtered by it.
    private bool Wants(ReadOnlySpan<byte> frame)
    {
        if (Has(Feature.ControlVlan)
            && frame.Length >= 16
            && BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) == VlanTag
            && !_vlans.Contains((ushort)(BinaryPrimitives.ReadUInt16BigEndian(frame[14..]) & 0xfff)))
        {
            return false;
        }

        if (!Has(Feature.ControlReceive) || Is(Mode.Promiscuous))
        {
            return true;
        }

        ulong destination = ReadAddress(frame);
        return destination == (1ul << 48) - 1 ? !Is(Mode.NoBroadcast)
            : (destination >> 40 & 1) != 0 ? !Is(Mode.NoMulticast) && (Is(Mode.AllMulticast) || _multicast.Contains(destination))
            : !Is(Mode.NoUnicast) && (Is(Mode.AllUnicast) || destination == _filterAddress || _unicast.Contains(destination));
    }

    private bool Is(Mode mode) => _modes[(int)mode];

    private void ResetFilters()
    {
        _filterAddress = _ownAddress;
        _unicast.Clear();
        _multicast.Clear();
        _vlans.Clear();
        Array.Clear(_modes);
        Volatile.Write(ref _activePairs, 1);
    }
}
