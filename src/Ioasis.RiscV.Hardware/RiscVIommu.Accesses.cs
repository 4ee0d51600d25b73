using Ioasis.Hardware;

namespace Ioasis.RiscV.Hardware;

/// <content>Which accesses a fence waits for (section 3.1.2).</content>
public sealed partial class RiscVIommu
{
    // 1 and up, this IOMMU's own.
    private readonly int _place = ReaderSlot.NewPlace();

    private void EnterAccess(out ReaderSlot? slot)
    {
        slot = ReaderSlot.Current;
        slot.Enter(_place);
    }

    private static void ExitAccess(ReaderSlot? slot) => slot?.Exit();

    // Register lock held. Translations never take it inside an access, so this ends.
    private void WaitForAccesses() => ReaderSlot.WaitForOthers(_place);

    /// <summary>
    /// Begins an access of an embedder who translates with <see cref="Translate"/> and then accesses memory itself: until the scope
    /// is disposed, by the same thread, an IOFENCE.C that another thread gives to this IOMMU does not complete. Keep it short; within it, write no registers.
    /// </summary>
    public AccessScope BeginAccess()
    {
        EnterAccess(out ReaderSlot? slot);
        return new(slot);
    }

    /// <summary>An access under way; see <see cref="BeginAccess"/>.</summary>
    public readonly ref struct AccessScope
    {
        private readonly ReaderSlot? _slot;

        internal AccessScope(ReaderSlot? slot) => _slot = slot;

        /// <summary>Ends the access.</summary>
        public void Dispose() => ExitAccess(_slot);
    }
}
