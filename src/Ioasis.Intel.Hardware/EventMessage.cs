using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// One of the unit's own interrupts: control, data, address and upper address registers (sections 11.4.7.2 to 11.4.7.5, and the same for the other
/// events), and their logic (sections 7.3, 6.5.2.10, 7.5). Under the register lock.
/// </summary>
internal sealed class EventMessage(UnitOutbox outbox)
{
    private bool _isMasked = true;
    private bool _isPending;
    private uint _data;
    private uint _address;
    private uint _upperAddress;

    /// <summary>An interrupt condition came while none was there.</summary>
    public void Raise()
    {
        _isPending = true;
        SendIfAllowed();
    }

    /// <summary>Software has served all conditions.</summary>
    public void Withdraw() => _isPending = false;

    /// <summary>Reads the register at an offset from the control register.</summary>
    public uint Read(uint offset) => offset switch
    {
        0 => (_isMasked ? EventControl.MaskBit : 0) | (_isPending ? EventControl.PendingBit : 0),
        4 => _data,
        8 => _address,
        _ => _upperAddress,
    };

    /// <summary>Writes the register at an offset from the control register.</summary>
    public void Write(uint offset, uint value)
    {
        switch (offset)
        {
            case 0:
                _isMasked = (value & EventControl.MaskBit) != 0;
                SendIfAllowed();
                break;
            case 4:
                _data = value & 0xffff;
                break;
            case 8:
                _address = value & ~3u;
                break;
            default:
                _upperAddress = value;
                break;
        }
    }

    private void SendIfAllowed()
    {
        if (_isPending && !_isMasked)
        {
            _isPending = false;
            outbox.Post(new(DepartureKind.Interrupt, ((ulong)_upperAddress << 32) | _address, _data));
        }
    }
}
