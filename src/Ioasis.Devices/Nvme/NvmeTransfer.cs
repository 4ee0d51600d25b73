using System.Buffers.Binary;

namespace Ioasis.Devices.Nvme;

/// <summary>How a controller reaches the memory of its host. Ranges may cross pages.</summary>
internal interface INvmeBus
{
    /// <summary>Reads.</summary>
    /// <returns>Whether all of it was read.</returns>
    bool Read(ulong address, Span<byte> destination);

    /// <summary>Writes.</summary>
    /// <returns>Whether all of it was written.</returns>
    bool Write(ulong address, ReadOnlySpan<byte> source);
}

/// <summary>
/// The data of one command on its way: takes the command's PRP entries or SGL descriptors one after the other, as they are
/// needed, and moves bytes. Neighbouring pages go in one access. Used again for the next command; under the controller's lock.
/// </summary>
/// <remarks>Base specification 2.0, sections 4.1.1 (PRP) and 4.1.2 (SGL).</remarks>
internal sealed class NvmeTransfer(INvmeBus bus, NvmeStatus tooShort = NvmeStatus.DataSglLengthInvalid)
{
    private const int DescriptorSize = 16;

    // A list that never gets on, of descriptors without a length, ends here.
    private const int DescriptorLimit = 1 << 16;
    private const int ListBytes = 4096;

    private readonly byte[] _list = new byte[ListBytes];
    private NvmeDirection _direction;
    private bool _isSgl;
    private ulong _left;

    // The piece under way.
    private ulong _address;
    private ulong _pieceLeft;
    private bool _isBucket;

    // PRP.
    private uint _pageSize;
    private ulong _second;
    private bool _hasSecond;
    private bool _hasList;

    // The list from which entries or descriptors come.
    private ulong _listAddress;
    private ulong _listLeft;
    private int _listAt;
    private int _listFilled;
    private bool _isLastSegment;
    private int _descriptors;

    /// <summary>Bytes that are still to be moved.</summary>
    public ulong Left => _left;

    /// <summary>Begins with a command's data.</summary>
    /// <param name="command">The command; its kind of data pointer is checked.</param>
    /// <param name="length">Bytes that it moves.</param>
    /// <param name="pageSize">Bytes of a page (CC.MPS).</param>
    /// <param name="direction">Which way they go.</param>
    /// <returns>Success, or what is wrong with the first entries.</returns>
    public NvmeStatus Begin(in NvmeCommand command, ulong length, uint pageSize, NvmeDirection direction)
    {
        Clear(length, direction);
        return command.DataKind == 0
            ? BeginPrp(command.Data1, command.Data2, pageSize)
            : BeginSgl(command.Data1, command.Data2);
    }

    /// <summary>Begins with a contiguous buffer.</summary>
    public void BeginBuffer(ulong address, ulong length, NvmeDirection direction)
    {
        Clear(length, direction);
        _address = address;
        _pieceLeft = length;
    }

    /// <summary>Begins with a list that is one descriptor at an address.</summary>
    public NvmeStatus BeginSglAt(ulong address, ulong length, NvmeDirection direction)
    {
        Clear(length, direction);
        Span<byte> descriptor = stackalloc byte[DescriptorSize];
        return bus.Read(address, descriptor)
            ? BeginSgl(BinaryPrimitives.ReadUInt64LittleEndian(descriptor), BinaryPrimitives.ReadUInt64LittleEndian(descriptor[8..]))
            : NvmeStatus.DataTransferError;
    }

    /// <summary>Moves bytes to the host.</summary>
    public NvmeStatus ToHost(ReadOnlySpan<byte> source)
    {
        while (!source.IsEmpty)
        {
            NvmeStatus status = TakePiece((uint)source.Length, out ulong address, out int length, out bool isBucket);
            if (status != NvmeStatus.Success)
            {
                return status;
            }

            if (!isBucket && !bus.Write(address, source[..length]))
            {
                return NvmeStatus.DataTransferError;
            }

            source = source[length..];
        }

        return NvmeStatus.Success;
    }

    /// <summary>Moves bytes from the host.</summary>
    public NvmeStatus FromHost(Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            NvmeStatus status = TakePiece((uint)destination.Length, out ulong address, out int length, out _);
            if (status != NvmeStatus.Success)
            {
                return status;
            }

            if (!bus.Read(address, destination[..length]))
            {
                return NvmeStatus.DataTransferError;
            }

            destination = destination[length..];
        }

        return NvmeStatus.Success;
    }

    private void Clear(ulong length, NvmeDirection direction)
    {
        _left = length;
        _direction = direction;
        _pieceLeft = 0;
        _isBucket = false;
        _isSgl = false;
        _hasSecond = false;
        _hasList = false;
        _listLeft = 0;
        _listAt = 0;
        _listFilled = 0;
        _isLastSegment = false;
        _descriptors = 0;
    }

    // The next piece: as many of the bytes that are wanted as lie together.
    private NvmeStatus TakePiece(uint wanted, out ulong address, out int length, out bool isBucket)
    {
        address = 0;
        length = 0;
        isBucket = false;
        while (_pieceLeft == 0)
        {
            NvmeStatus status = NextPiece(out ulong next, out ulong bytes);
            if (status != NvmeStatus.Success)
            {
                return status;
            }

            _address = next;
            _pieceLeft = bytes;
        }

        // Pages that follow each other are one piece. A descriptor is one already.
        while (!_isSgl && _pieceLeft < wanted && _left > _pieceLeft)
        {
            NvmeStatus status = NextPiece(out ulong next, out ulong bytes);
            if (status != NvmeStatus.Success)
            {
                return status;
            }

            if (next != _address + _pieceLeft)
            {
                // It is the piece after this one.
                address = _address;
                length = (int)_pieceLeft;
                _left -= _pieceLeft;
                _address = next;
                _pieceLeft = bytes;
                return NvmeStatus.Success;
            }

            _pieceLeft += bytes;
        }

        address = _address;
        isBucket = _isBucket;
        length = (int)Math.Min(wanted, _pieceLeft);
        _address += (uint)length;
        _pieceLeft -= (uint)length;
        _left -= (uint)length;
        return NvmeStatus.Success;
    }

    private NvmeStatus NextPiece(out ulong address, out ulong length) =>
        _isSgl ? NextDescriptor(out address, out length) : NextPage(out address, out length);

    private NvmeStatus BeginPrp(ulong first, ulong second, uint pageSize)
    {
        _pageSize = pageSize;
        if ((first & 3) != 0)
        {
            return NvmeStatus.PrpOffsetInvalid | NvmeStatus.DoNotRetry;
        }

        _address = first;
        _pieceLeft = Math.Min(_left, pageSize - (first & (pageSize - 1)));
        ulong rest = _left - _pieceLeft;
        if (rest == 0)
        {
            return NvmeStatus.Success;
        }

        if (rest <= pageSize)
        {
            _second = second;
            _hasSecond = true;
            return (second & (pageSize - 1)) == 0 ? NvmeStatus.Success : NvmeStatus.PrpOffsetInvalid | NvmeStatus.DoNotRetry;
        }

        _hasList = true;
        _listAddress = second;
        _listLeft = pageSize - (second & (pageSize - 1));
        return (second & 7) == 0 ? NvmeStatus.Success : NvmeStatus.PrpOffsetInvalid | NvmeStatus.DoNotRetry;
    }

    // What is not taken yet and does not lie in the piece under way.
    private NvmeStatus NextPage(out ulong address, out ulong length)
    {
        address = _second;
        ulong rest = _left - _pieceLeft;
        length = Math.Min(rest, _pageSize);
        if (_hasSecond)
        {
            _hasSecond = false;
            return NvmeStatus.Success;
        }

        if (!_hasList)
        {
            return NvmeStatus.InternalError;
        }

        NvmeStatus status = NextEntry(rest, out address);
        return status != NvmeStatus.Success ? status
            : (address & (_pageSize - 1)) == 0 ? NvmeStatus.Success
            : NvmeStatus.PrpOffsetInvalid | NvmeStatus.DoNotRetry;
    }

    private NvmeStatus NextEntry(ulong rest, out ulong entry)
    {
        entry = 0;
        while (true)
        {
            if (_listAt == _listFilled)
            {
                // No more is read than is needed: what follows in the page need not be a list.
                ulong needed = (rest + (_pageSize - 1)) / _pageSize * 8;
                int bytes = (int)Math.Min(Math.Min(_listLeft, needed), ListBytes);
                if (!bus.Read(_listAddress, _list.AsSpan(0, bytes)))
                {
                    return NvmeStatus.DataTransferError;
                }

                _listAddress += (uint)bytes;
                _listLeft -= (uint)bytes;
                _listAt = 0;
                _listFilled = bytes;
            }

            entry = BinaryPrimitives.ReadUInt64LittleEndian(_list.AsSpan(_listAt));
            _listAt += 8;
            bool isLastOfPage = _listLeft == 0 && _listAt == _listFilled;
            if (!isLastOfPage || rest <= _pageSize)
            {
                return NvmeStatus.Success;
            }

            // The last entry of a page points to the next page of the list.
            if ((entry & (_pageSize - 1)) != 0)
            {
                return NvmeStatus.PrpOffsetInvalid | NvmeStatus.DoNotRetry;
            }

            _listAddress = entry;
            _listLeft = _pageSize;
        }
    }

    private NvmeStatus BeginSgl(ulong first, ulong second)
    {
        _isSgl = true;
        return TakeDescriptor(first, second, out _address, out _pieceLeft);
    }

    private NvmeStatus NextDescriptor(out ulong address, out ulong length)
    {
        address = 0;
        length = 0;
        if (_listAt == _listFilled)
        {
            if (_listLeft == 0)
            {
                return tooShort | NvmeStatus.DoNotRetry;
            }

            int bytes = (int)Math.Min(_listLeft, ListBytes);
            if (!bus.Read(_listAddress, _list.AsSpan(0, bytes)))
            {
                return NvmeStatus.DataTransferError;
            }

            _listAddress += (uint)bytes;
            _listLeft -= (uint)bytes;
            _listAt = 0;
            _listFilled = bytes;
        }

        ulong first = BinaryPrimitives.ReadUInt64LittleEndian(_list.AsSpan(_listAt));
        ulong second = BinaryPrimitives.ReadUInt64LittleEndian(_list.AsSpan(_listAt + 8));
        _listAt += DescriptorSize;
        return TakeDescriptor(first, second, out address, out length);
    }

    private NvmeStatus TakeDescriptor(ulong first, ulong second, out ulong address, out ulong length)
    {
        const NvmeStatus Fault = NvmeStatus.DoNotRetry;
        address = first;
        length = (uint)second;
        _isBucket = false;
        if (++_descriptors > DescriptorLimit)
        {
            return NvmeStatus.InvalidSglCount | Fault;
        }

        // Type in 63:60, subtype in 59:56: only addresses.
        int type = (int)(second >> 60);
        if (((second >> 56) & 0xf) != 0)
        {
            return NvmeStatus.SglTypeInvalid | Fault;
        }

        switch (type)
        {
            case 0:
                return NvmeStatus.Success;
            case 1:
                // A bit bucket takes what goes to the host; the other way it has nothing to give.
                _isBucket = _direction == NvmeDirection.ToHost;
                length = _isBucket ? length : 0;
                return NvmeStatus.Success;
            case 2 or 3:
                if (_isLastSegment)
                {
                    return NvmeStatus.InvalidSglCount | Fault;
                }

                // A segment is named by the last descriptor of the one before.
                if (length == 0 || (length & (DescriptorSize - 1)) != 0 || _listAt != _listFilled || _listLeft != 0)
                {
                    return NvmeStatus.InvalidSglSegment | Fault;
                }

                _isLastSegment = type == 3;
                _listAddress = address;
                _listLeft = length;
                _listAt = 0;
                _listFilled = 0;
                length = 0;
                return NvmeStatus.Success;
            default:
                return NvmeStatus.SglTypeInvalid | Fault;
        }
    }
}

/// <summary>Which way data goes.</summary>
internal enum NvmeDirection
{
    /// <summary>From the controller to the host.</summary>
    ToHost,

    /// <summary>From the host to the controller.</summary>
    FromHost,
}
