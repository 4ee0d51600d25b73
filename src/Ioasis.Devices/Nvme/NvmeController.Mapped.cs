using Ioasis.Platform;

namespace Ioasis.Devices.Nvme;

/// <content>
/// Registers that a client has mapped: stores to them are found by looking. Of a doorbell only the last value counts, so nothing is
/// lost; it is taken by an exchange for a value that no driver stores, for with shadow doorbells the same value may come twice. Of the
/// other registers a store that changes nothing does nothing. INTMC shows 0, so that a store to it is seen.
/// </content>
public sealed partial class NvmeController
{
    private const uint RegisterEnd = 0x40;
    private const uint NoStore = uint.MaxValue;

    // What each word showed when it was looked at or written here last: a word that differs was stored by the client.
    private readonly uint[] _shown = new uint[RegisterEnd / 4];
    private int _doorbells;

    /// <inheritdoc/>
    protected override void OnRegistersMapped(int bar, MappedRegisters registers)
    {
        if (bar != 0)
        {
            return;
        }

        using (_lock.Acquire())
        {
            for (uint i = 0; i < 2 * _submission.Length; i++)
            {
                registers.Write32(NvmeRegisters.Doorbells + (4 * i), NoStore);
            }

            _doorbells = 2 * _submission.Length;
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

        return registers.IndexOfOther(NvmeRegisters.Doorbells, _doorbells, NoStore) >= 0;
    }

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
        // Each of them once: one that is rung without end does not keep the others waiting.
        for (uint i = 0; i < _doorbells; i++)
        {
            int next = registers.IndexOfOther(NvmeRegisters.Doorbells + (4 * i), _doorbells - (int)i, NoStore);
            if (next < 0)
            {
                return;
            }

            i += (uint)next;
            RingDoorbell(i, registers.Exchange32(NvmeRegisters.Doorbells + (4 * i), NoStore) & 0xffff);
        }
    }

    // What was stored before there was a queue is not the queue's.
    private void ForgetMappedDoorbell(uint index) =>
        MappedRegistersOf(0).Write32(NvmeRegisters.Doorbells + (4 * index), NoStore);

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
