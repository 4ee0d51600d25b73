using Ioasis.Platform;

namespace Ioasis.Devices.Nvme;

/// <content>
/// Registers that a client has mapped: stores to them are found by looking. Of a doorbell only the last value counts, so nothing is
/// lost; of the other registers a store that changes nothing does nothing. INTMC shows 0, so that a store to it is seen.
/// </content>
public sealed partial class NvmeController
{
    private const uint RegisterEnd = 0x40;
    private const int DoorbellsAtATime = 64;

    // What each word showed when it was looked at or written here last: a word that differs was stored by the client.
    private readonly uint[] _shown = new uint[RegisterEnd / 4];
    private uint[] _shownDoorbells = [];
    private uint _strayDoorbell;

    /// <inheritdoc/>
    protected override void OnRegistersMapped(int bar, MappedRegisters registers)
    {
        if (bar != 0)
        {
            return;
        }

        using (_lock.Acquire())
        {
            _shownDoorbells = new uint[2 * _submission.Length];
            registers.Write64(NvmeRegisters.Capabilities, _capabilities);
            registers.Write32(NvmeRegisters.Version, NvmeRegisters.Version20);
            registers.Write32(NvmeRegisters.ReadyTimeouts, TimeoutUnits);
            Array.Clear(_shown);
            Publish(registers);
        }
    }

    /// <inheritdoc/>
    protected internal override bool LookAtRegisters(int bar, MappedRegisters registers)
    {
        // Whoever has the lock is at work; what was stored meanwhile is found by the next look.
        if (bar != 0 || !HasStores(registers) || !_lock.TryAcquire(out IoLock.Scope scope))
        {
            return false;
        }

        Outgoing outgoing;
        using (scope)
        {
            TakeRegisters(registers);
            TakeDoorbells(registers);
            Work();
            outgoing = EndWork();
        }

        Deliver(outgoing);
        RunPosted();
        return true;
    }

    // No lock: what is missed now is found by the next look.
    private bool HasStores(MappedRegisters registers)
    {
        for (uint offset = NvmeRegisters.InterruptMaskSet; offset < RegisterEnd; offset += 4)
        {
            if (registers.Read32(offset) != Volatile.Read(ref _shown[offset / 4]))
            {
                return true;
            }
        }

        for (uint i = 0; i < _shownDoorbells.Length; i++)
        {
            bool isThere = (i & 1) == 0 ? _submission[i / 2] is not null : _completion[i / 2] is not null;
            if (isThere && DoorbellDiffers(registers, i))
            {
                return true;
            }
        }

        // Doorbells of queues that do not exist, a few at a time: to ring one is an error that is told.
        for (int i = 0; i < DoorbellsAtATime && _shownDoorbells.Length > 0; i++)
        {
            _strayDoorbell = (_strayDoorbell + 1) % (uint)_shownDoorbells.Length;
            if (DoorbellDiffers(registers, _strayDoorbell))
            {
                return true;
            }
        }

        return false;
    }

    private bool DoorbellDiffers(MappedRegisters registers, uint index) =>
        registers.Read32(NvmeRegisters.Doorbells + (4 * index)) != Volatile.Read(ref _shownDoorbells[index]);

    // The configuration is read first and takes effect last: what a driver stored before it is there then.
    private void TakeRegisters(MappedRegisters registers)
    {
        uint configuration = registers.Read32(NvmeRegisters.Configuration);
        for (uint offset = NvmeRegisters.InterruptMaskSet; offset < RegisterEnd; offset += 4)
        {
            uint value = registers.Read32(offset);
            if (offset == NvmeRegisters.Configuration || value == _shown[offset / 4])
            {
                continue;
            }

            _shown[offset / 4] = value;
            WriteWord(offset, value);
        }

        if (configuration != _shown[NvmeRegisters.Configuration / 4])
        {
            _shown[NvmeRegisters.Configuration / 4] = configuration;
            WriteWord(NvmeRegisters.Configuration, configuration);
        }
    }

    private void TakeDoorbells(MappedRegisters registers)
    {
        uint[] shown = _shownDoorbells;
        for (uint i = 0; i < shown.Length; i++)
        {
            uint value = registers.Read32(NvmeRegisters.Doorbells + (4 * i));
            if (value != shown[i])
            {
                Volatile.Write(ref shown[i], value);
                RingDoorbell(i, value & 0xffff);
            }
        }
    }

    // A queue begins with doorbells of 0, whatever was stored there for the one before.
    private void ForgetMappedDoorbell(uint index)
    {
        if (index < _shownDoorbells.Length)
        {
            MappedRegistersOf(0).Write32(NvmeRegisters.Doorbells + (4 * index), 0);
            Volatile.Write(ref _shownDoorbells[index], 0);
        }
    }

    // Shows what has changed here. What the client has stored in the meantime is not overwritten unless it is a register of its own.
    private void Publish(MappedRegisters registers)
    {
        if (registers.IsEmpty)
        {
            return;
        }

        // What is gone from the bus reads as ones, what never changes too.
        for (uint offset = _isGone ? 0 : NvmeRegisters.InterruptMaskSet; offset < RegisterEnd; offset += 4)
        {
            uint value = _isGone ? uint.MaxValue : offset is NvmeRegisters.InterruptMaskClear ? 0 : ReadWord(offset);
            if (value != _shown[offset / 4])
            {
                Volatile.Write(ref _shown[offset / 4], value);
                registers.Write32(offset, value);
            }
        }
    }
}
