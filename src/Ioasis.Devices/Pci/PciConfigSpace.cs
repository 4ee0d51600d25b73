using System.Buffers.Binary;
using System.Numerics;
using Ioasis.Platform;

namespace Ioasis.Devices;

/// <summary>
/// A configuration space as vfio-pci presents it to a client: base addresses can be sized and moved without effect, the
/// enables of message-signalled interrupts belong to the kernel and only show, and so do those of address translation unless the driver has them. Layout: PCI
/// Local Bus 3.0, chapter 6; PCI Express Base 5.0, sections 7.5 to 7.8 and 10.5. Thread-safe.
/// </summary>
internal sealed class PciConfigSpace
{
    public const int Command = 0x04;
    public const ushort CommandMemory = 2;
    public const ushort CommandMaster = 4;
    public const ushort CommandInterruptDisable = 0x400;

    private const int Status = 0x06;
    private const int FirstBar = 0x10;
    private const ushort CommandIo = 1;
    private const ushort CommandSystemError = 0x100;
    private const ushort StatusInterrupt = 8;
    private const ushort StatusCapabilities = 16;
    private const int WindowData = 16;

    // In the controls of ATS, page requests and PASIDs, and in the status of page requests.
    private const ushort AtsEnable = 0x8000;
    private const ushort AtsUnit = 0x1f;
    private const ushort PageRequestEnable = 1;
    private const ushort PageRequestStopped = 0x100;
    private const ushort PageRequestResponsePasid = 0x8000;
    private const ushort PasidEnable = 1;
    private const ushort PasidControls = 7;

    private readonly IoLock _lock = new();
    private readonly PciDeviceDescription _description;
    private readonly byte[] _initial;
    private readonly byte[] _writable;
    private byte[] _bytes;
    private int _msi;
    private int _msiX;
    private int _express;
    private int _window;
    private int _ats;
    private int _pageRequests;
    private int _pasid;
    private int _next;
    private int _lastCapability;
    private int _lastExtended;

    /// <summary>Builds the space.</summary>
    /// <param name="description">What to say; valid.</param>
    /// <param name="bases">Base address of each register of the description, in its order.</param>
    /// <param name="driverEnablesAts">As of <see cref="SetControls"/>.</param>
    public PciConfigSpace(PciDeviceDescription description, ReadOnlySpan<ulong> bases, bool driverEnablesAts = false)
    {
        _description = description;
        _initial = new byte[description.IsExpress ? 4096 : 256];
        _writable = new byte[_initial.Length];
        BuildHeader(bases);
        BuildCapabilities();
        _bytes = [.. _initial];
        SetControls(driverEnablesAts);
    }

    /// <summary>Bytes.</summary>
    public int Size => _initial.Length;

    /// <summary>The command register. One read of a word: no lock.</summary>
    public ushort CommandValue => (ushort)(Volatile.Read(ref _bytes[Command]) | (Volatile.Read(ref _bytes[Command + 1]) << 8));

    /// <summary>A client opens the device: everything is as the platform's firmware left it, memory and I/O enabled.</summary>
    public void Open()
    {
        using (_lock.Acquire())
        {
            _bytes = [.. _initial];
            BinaryPrimitives.WriteUInt16LittleEndian(
                _bytes.AsSpan(Command), CommandIo | CommandMemory | CommandSystemError);
        }
    }

    /// <summary>The last client closes the device: it answers nothing and does no DMA any more.</summary>
    public void Close()
    {
        using (_lock.Acquire())
        {
            _bytes = [.. _initial];
        }
    }

    /// <summary>Says whose the controls of ATS, page requests and PASIDs are: the driver's, and off, or the kernel's, who has turned them on, ATS with the smallest unit.</summary>
    /// <param name="areDriver">Whether a client can write them.</param>
    public void SetControls(bool areDriver)
    {
        using (_lock.Acquire())
        {
            Set(_ats, 6, AtsEnable, AtsEnable | AtsUnit);
            Set(_pageRequests, 4, PageRequestEnable, PageRequestEnable);
            Set(_pasid, 6, PasidEnable, PasidControls);
        }

        void Set(int capability, int control, ushort enable, ushort writable)
        {
            if (capability != 0)
            {
                Put16(capability + control, areDriver ? (ushort)0 : enable);
                _initial.AsSpan(capability + control, sizeof(ushort)).CopyTo(_bytes.AsSpan(capability + control));
                Writable16(capability + control, areDriver ? writable : (ushort)0);
            }
        }
    }

    /// <summary>Reads within the space.</summary>
    /// <param name="offset">Offset.</param>
    /// <param name="destination">Ends within the space.</param>
    /// <param name="line">Whether the wired interrupt is asserted.</param>
    /// <param name="msi">Whether MSI is enabled.</param>
    /// <param name="msiX">Whether MSI-X is enabled.</param>
    public void Read(int offset, Span<byte> destination, bool line, bool msi, bool msiX)
    {
        using (_lock.Acquire())
        {
            // What shows the state of something else, at the moment it is read.
            SetBits(Status, StatusInterrupt, line);
            if (_msi != 0)
            {
                SetBits(_msi + 2, 1, msi);
            }

            if (_msiX != 0)
            {
                SetBits(_msiX + 2, 0x8000, msiX);
            }

            if (_pageRequests != 0)
            {
                SetBits(_pageRequests + 6, PageRequestStopped, (_bytes[_pageRequests + 4] & PageRequestEnable) == 0);
            }

            _bytes.AsSpan(offset, destination.Length).CopyTo(destination);
        }
    }

    /// <summary>Writes within the space.</summary>
    /// <param name="offset">Offset.</param>
    /// <param name="source">Ends within the space.</param>
    /// <returns>Whether the write asks for a function-level reset.</returns>
    public bool Write(int offset, ReadOnlySpan<byte> source)
    {
        using (_lock.Acquire())
        {
            bool reset = false;
            for (int i = 0; i < source.Length; i++)
            {
                int at = offset + i;
                byte mask = _writable[at];
                Volatile.Write(ref _bytes[at], (byte)((_bytes[at] & ~mask) | (source[i] & mask)));

                // Initiate Function Level Reset: bit 15 of the device control register, reads as 0.
                reset |= _express != 0 && at == _express + 9 && (source[i] & 0x80) != 0;
            }

            return reset && _description.CanReset;
        }
    }

    /// <summary>Whether an access touches the data of the window to registers, and where that leads.</summary>
    /// <param name="offset">The access.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="target">Base address register, place in it, and bytes.</param>
    public bool TryGetWindow(int offset, int length, out (int Bar, uint Offset, int Size) target)
    {
        target = default;
        if (_window == 0 || offset >= _window + WindowData + 4 || offset + length <= _window + WindowData)
        {
            return false;
        }

        using (_lock.Acquire())
        {
            ReadOnlySpan<byte> window = _bytes.AsSpan(_window);
            uint size = BinaryPrimitives.ReadUInt32LittleEndian(window[12..]);
            target = (window[4], BinaryPrimitives.ReadUInt32LittleEndian(window[8..]), (int)size);
            return size is 1 or 2 or 4 && target.Bar < 6 && target.Offset % size == 0;
        }
    }

    /// <summary>Reads the data of the window to registers.</summary>
    public void ReadWindow(Span<byte> data)
    {
        using (_lock.Acquire())
        {
            _bytes.AsSpan(_window + WindowData, data.Length).CopyTo(data);
        }
    }

    /// <summary>Writes the data of the window to registers.</summary>
    public void WriteWindow(ReadOnlySpan<byte> data)
    {
        using (_lock.Acquire())
        {
            data.CopyTo(_bytes.AsSpan(_window + WindowData));
        }
    }

    private void SetBits(int offset, ushort bits, bool on)
    {
        Span<byte> at = _bytes.AsSpan(offset);
        int value = BinaryPrimitives.ReadUInt16LittleEndian(at);
        BinaryPrimitives.WriteUInt16LittleEndian(at, (ushort)(on ? value | bits : value & ~bits));
    }

    private void BuildHeader(ReadOnlySpan<ulong> bases)
    {
        Put16(0x00, _description.VendorId);
        Put16(0x02, _description.DeviceId);
        Writable16(Command, CommandIo | CommandMemory | CommandMaster | CommandSystemError | CommandInterruptDisable);
        Put16(0x08, (ushort)(_description.Revision | ((_description.ClassCode & 0xff) << 8)));
        Put16(0x0a, (ushort)(_description.ClassCode >> 8));
        Writable16(0x0c, 0xffff);
        for (int i = 0; i < _description.Bars.Count; i++)
        {
            PciBar bar = _description.Bars[i];
            int at = FirstBar + (4 * bar.Register);
            uint kind = bar.IsIo ? 1u : (bar.Is64Bit ? 4u : 0) | (bar.IsPrefetchable ? 8u : 0);
            ulong mask = ~(bar.Size - 1) & ~(bar.IsIo ? 3ul : 15ul);
            Put32(at, (uint)(bases[i] & mask) | kind);
            Writable32(at, (uint)mask);
            if (bar.Is64Bit)
            {
                Put32(at + 4, (uint)((bases[i] & mask) >> 32));
                Writable32(at + 4, (uint)(mask >> 32));
            }
        }

        Put16(0x2c, _description.SubsystemVendorId);
        Put16(0x2e, _description.SubsystemId);
        _writable[0x3c] = 0xff;
        _initial[0x3d] = (byte)(_description.HasInterruptPin ? 1 : 0);
    }

    private void BuildCapabilities()
    {
        _next = 0x40;
        if (_description.IsExpress)
        {
            // Version 2, endpoint; function-level reset in the device capabilities; payload and read request sizes show.
            _express = Add(0x10, 0x3c);
            Put16(_express + 2, 2);
            Put32(_express + 4, _description.CanReset ? 1u << 28 : 0);
            Writable16(_express + 8, 0x70ff);
        }

        if (_description.MsiVectors > 0)
        {
            // 64-bit addresses, no masking of single vectors.
            _msi = Add(0x05, 14);
            Put16(_msi + 2, (ushort)(0x80 | (BitOperations.Log2((uint)_description.MsiVectors) << 1)));
            Writable16(_msi + 2, 0x70);
            Writable32(_msi + 4, 0xffff_fffc);
            Writable32(_msi + 8, uint.MaxValue);
            Writable16(_msi + 12, 0xffff);
        }

        if (_description.MsiX is { } x)
        {
            _msiX = Add(0x11, 12);
            Put16(_msiX + 2, (ushort)(x.Vectors - 1));
            Put32(_msiX + 4, x.TableOffset | (uint)x.Bar);
            Put32(_msiX + 8, x.PendingOffset | (uint)x.Bar);
        }

        foreach (PciVendorCapability vendor in _description.VendorCapabilities)
        {
            int at = Add(0x09, 3 + vendor.Body.Count);
            _initial[at + 2] = (byte)(3 + vendor.Body.Count);
            for (int i = 0; i < vendor.Body.Count; i++)
            {
                _initial[at + 3 + i] = vendor.Body[i];
            }

            if (vendor.IsWindow)
            {
                _window = at;
                _writable[at + 4] = 0xff;
                _writable.AsSpan(at + 8, 12).Fill(0xff);
            }
        }

        _next = 0x100;
        if (_description.HasAts)
        {
            // Invalidate queue of 32, page-aligned requests.
            _ats = AddExtended(0x0f, 8);
            Put16(_ats + 4, 0x20);
        }

        if (_description.HasPageRequests)
        {
            // A response carries the PASID of its request.
            _pageRequests = AddExtended(0x13, 16);
            Put16(_pageRequests + 6, _description.PasidBits > 0 ? PageRequestResponsePasid : (ushort)0);
            Put32(_pageRequests + 8, 256);
            Put32(_pageRequests + 12, 256);
        }

        if (_description.PasidBits > 0)
        {
            _pasid = AddExtended(0x1b, 8);
            Put16(_pasid + 4, (ushort)(6 | (_description.PasidBits << 8)));
        }
    }

    private int Add(byte id, int size)
    {
        int at = _next;
        _next = (at + size + 3) & ~3;
        _initial[at] = id;
        _initial[_lastCapability == 0 ? 0x34 : _lastCapability + 1] = (byte)at;
        _initial[Status] |= (byte)StatusCapabilities;
        _lastCapability = at;
        return at;
    }

    private int AddExtended(ushort id, int size)
    {
        int at = _next;
        _next = at + size;
        Put32(at, id | (1u << 16));
        if (_lastExtended != 0)
        {
            uint header = BinaryPrimitives.ReadUInt32LittleEndian(_initial.AsSpan(_lastExtended));
            Put32(_lastExtended, header | ((uint)at << 20));
        }

        _lastExtended = at;
        return at;
    }

    private void Put16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_initial.AsSpan(offset), value);

    private void Put32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_initial.AsSpan(offset), value);

    private void Writable16(int offset, ushort mask) => BinaryPrimitives.WriteUInt16LittleEndian(_writable.AsSpan(offset), mask);

    private void Writable32(int offset, uint mask) => BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(offset), mask);
}
